"""Completions for bash, zsh and fish, from a usage text.

What each completes: options, and their values where these are files, directories or commands;
directories for SRC; and for file-replicator, behind its two directories, the connection command
as if it stood alone, with or without a `--` before it.
"""

from __future__ import annotations

import re
from typing import List

from usage import Option, Usage

# What an option's value, or a word, is called, and what stands there; else it is the user's own.
FILES = ("FILE", "FD|FILE")
DIRECTORIES = ("DIR", "SRC", "SRC_DIR", "DEST_PARENT_DIR")
COMMANDS = ("COMMAND",)


def says(option: Option) -> str:
    """Its explanation as a few words: the first sentence, or the clauses of it that fit a line."""
    text = re.sub(r" *\[default[^]]*\]\.?$", "", option.text.replace("`", ""))
    sentence = re.split(r"(?<=[A-Za-z0-9)])[.;:] |(?<!\.)\.$", text)[0]
    if len(sentence) <= 70:
        return sentence
    begun = sentence[:67]
    return begun.rsplit(", " if ", " in begun[20:] else " ", 1)[0] + "..."


def name(usage: Usage) -> str:
    return "_" + usage.program.replace("-", "_")


def connects(usage: Usage) -> bool:
    """Does a command of the user's follow SRC_DIR and DEST_PARENT_DIR?"""
    return any("CONNECTION_COMMAND" in form for form in usage.synopsis)


def has_profiles(usage: Usage) -> bool:
    """May @NAME stand for all other words? See wrapper/profiles.py."""
    return any(form.endswith(" @NAME") for form in usage.synopsis)


def head(usage: Usage) -> str:
    return f"# Completion for {usage.program}, made from its usage text by release/completion.py."


def spelled(option: Option) -> List[str]:
    return [word for word in (option.short, option.long) if word]


# --- bash -----------------------------------------------------------------------------

# The words before the one to be completed are gone through as the program does it. bash takes
# `--exclude=x` for three words.
_BASH = """\
{head}
{name}() {{
    local cur=${{COMP_WORDS[COMP_CWORD]}} word='' option='' places=0 ended='' i
    local valued=' {valued} '
    COMPREPLY=()
    for ((i = 1; i < COMP_CWORD; i++)); do
        word=${{COMP_WORDS[i]}}
        if [[ $word == '=' ]]; then continue; fi
        if [[ $option ]]; then option=; continue; fi
        if [[ $word == -- && ! $ended ]]; then
            ended=1
            if ((places == 2)); then ((i++)); break; fi
        elif [[ $word == -?* && ! $ended ]]; then
            if [[ $valued == *" $word "* ]]; then option=$word; fi
        elif ((places == {places})); then
            break
        else
            ((places++))
        fi
    done
    if [[ $cur == '=' ]]; then cur=; fi
    case $option in
{cases}
    '') ;;
    *) return ;;
    esac
    if [[ ! $ended && $cur == -* ]] && ((i >= COMP_CWORD)); then
        COMPREPLY=($(compgen -W '{words}' -- "$cur"))
        return
    fi
{profiles}    if ((places < {places})); then
        compopt -o filenames 2>/dev/null
        COMPREPLY=($(compgen -d -- "$cur"))
        return
    fi
{command}}}
complete -F {name} {program}
"""
_BASH_PROFILES = """\
    local mark=@ # bash may take it for a word of its own
    if [[ ${COMP_WORDS[COMP_CWORD - 1]} == @ ]]; then mark= places=0 cur=@$cur; fi
    if [[ $places == 0 && $cur == @* ]]; then
        local at=$PWD one
        while :; do
            for one in "$at"/.file-replicator/"${cur#@}"*; do
                [[ -f $one ]] || continue
                printf -v one %q "${one##*/}" # who has named it may be anybody
                COMPREPLY+=("$mark$one")
            done
            [[ $at ]] || return
            at=${at%/*}
        done
    fi
"""
_BASH_COMMAND = """\
    if declare -F _command_offset >/dev/null; then
        _command_offset "$i"
    elif ((i == COMP_CWORD)); then
        COMPREPLY=($(compgen -c -- "$cur"))
    else
        compopt -o default 2>/dev/null
    fi
"""


def bash(usage: Usage) -> str:
    cases = []
    for kinds, flag in ((FILES, "-f"), (DIRECTORIES, "-d"), (COMMANDS, "-c")):
        names = [word for o in usage.options if o.value in kinds for word in spelled(o)]
        if names:
            option = "" if flag == "-c" else "compopt -o filenames 2>/dev/null; "
            cases.append(
                f"    {' | '.join(names)})\n"
                f'        {option}COMPREPLY=($(compgen {flag} -- "$cur"))\n        return ;;'
            )
    return _BASH.format(
        head=head(usage),
        name=name(usage),
        program=usage.program,
        valued=" ".join(word for o in usage.options if o.value for word in spelled(o)),
        words=" ".join(word for o in usage.options for word in spelled(o)),
        cases="\n".join(cases),
        places=2 if connects(usage) else 1,
        profiles=_BASH_PROFILES if has_profiles(usage) else "",
        command=_BASH_COMMAND if connects(usage) else "",
    )


# --- zsh ------------------------------------------------------------------------------


def zsh(usage: Usage) -> str:
    lines = []
    for option in usage.options:
        lines += zsh_option(option)
    if connects(usage):
        lines += [
            "':directory here:_{0}_source'".format(name(usage)[1:]),
            "':directory over there:_files -/'",
            "'*:::connection command:_{0}_command'".format(name(usage)[1:]),
        ]
    else:
        lines += ["':directory:_files -/'"]
    joined = " \\\n    ".join(lines)
    before = f"#compdef {usage.program}\n{head(usage)}\n"
    if connects(usage):
        before += _ZSH_COMMAND.format(name=name(usage)[1:])
    return f"{before}_arguments -s -S : \\\n    {joined}\n"


_ZSH_COMMAND = """\
_{name}_command() {{
    # A `--` may stand before it.
    if [[ $words[1] == -- ]] && ((CURRENT > 1)); then
        shift words
        ((CURRENT--))
    fi
    _normal
}}
_{name}_source() {{
    if [[ $PREFIX != @* ]]; then
        _files -/
        return
    fi
    local at=$PWD
    local -a found
    while :; do
        found=($at/.file-replicator/*(N.:t))
        compadd -- @$^found
        [[ $at ]] || return
        at=${{at%/*}}
    done
}}
"""


def zsh_option(option: Option) -> List[str]:
    text = re.sub(r"([\[\]:\\])", r"\\\1", says(option)).replace("'", "'\\''")
    value = ""
    if option.value:
        if option.value in FILES:
            action = "_files"
        elif option.value in DIRECTORIES:
            action = "_files -/"
        elif option.value in COMMANDS:
            action = "_cmdstring"
        else:
            action = ""
        value = f":{option.value.lower()}:{action}"
    both = [word for word in (option.short, option.long) if word]
    found = []
    for word in both:
        typed = f"{word}=" if option.value and word.startswith("--") else word
        if option.again:
            front = "*"
        else:
            front = f"({' '.join(both)})" if len(both) > 1 else ""
        found.append(f"'{front}{typed}[{text}]{value}'")
    return found


# --- fish -----------------------------------------------------------------------------

# Tells where the connection command begins, as the program finds it; nothing if it has not begun.
_FISH_COMMAND = """\
function _{name}_command --description 'The connection command, as far as it is typed'
    set -l words (commandline -opc)
    set -e words[1]
    set -l valued {valued}
    set -l places 0
    set -l ended 0
    while set -q words[1]
        set -l word $words[1]
        if test "$word" = --; and test $ended = 0
            set ended 1
            set -e words[1]
            test $places = 2; and break
            continue
        else if test $ended = 0; and string match -qr -- '^-.' "$word"
            contains -- "$word" $valued; and set -e words[1]
        else if test $places = 2
            break
        else
            set places (math $places + 1)
        end
        set -e words[1]
    end
    test $places = 2; or return 1
    string join ' ' -- (string escape -- $words) (commandline -ct)
    return 0 # join's own status is 1 for a single word
end
complete -c {program} -f -n _{name}_command -a '(complete -C (_{name}_command))'
complete -c {program} -f -n 'not _{name}_command' -a '(__fish_complete_directories (commandline -ct))'
function _{name}_profiles --description 'The names for @NAME'
    set -l at $PWD
    while true
        for one in $at/.file-replicator/*
            echo @(basename $one)
        end
        test -n "$at" -a "$at" != /; or break
        set at (dirname $at)
    end
end
complete -c {program} -f -n 'string match -q "@*" -- (commandline -ct)' -a '(_{name}_profiles)'
"""


def fish(usage: Usage) -> str:
    condition = ""
    lines = [head(usage)]
    short = name(usage)[1:]
    if connects(usage):
        valued = " ".join(word for o in usage.options if o.value for word in spelled(o))
        text = _FISH_COMMAND.format(name=short, program=usage.program, valued=valued)
        lines.append(text.rstrip())
        condition = f" -n 'not _{short}_command'"
    else:
        lines.append(
            f"complete -c {usage.program} -f -a '(__fish_complete_directories (commandline -ct))'"
        )
    for option in usage.options:
        line = f"complete -c {usage.program}{condition}"
        if option.short:
            line += f" -s {option.short[1:]}"
        if option.long:
            line += f" -l {option.long[2:]}"
        if option.value:
            if option.value in FILES:
                line += " -r -F"
            elif option.value in DIRECTORIES:
                line += " -x -a '(__fish_complete_directories (commandline -ct))'"
            elif option.value in COMMANDS:
                line += " -x -a '(__fish_complete_command)'"
            else:
                line += " -x"
        text = says(option).replace("\\", "\\\\").replace("'", "\\'")
        lines.append(f"{line} -d '{text}'")
    return "\n".join(lines) + "\n"
