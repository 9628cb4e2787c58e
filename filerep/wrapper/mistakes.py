"""What was probably meant, where what was typed cannot work: told with what to type."""

from __future__ import annotations

import itertools
import os
import re

from filerep.command import USAGE, Stop, close_to
from filerep.pathstream import quote
from filerep.wrapper import profiles

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence
    from typing import Any, NoReturn, Optional

_NAMES = ("SRC_DIR", "DEST_PARENT_DIR", "CONNECTION_COMMAND")
# Options of other programs, and what is to be said of them here.
_ALL = "all that is below SRC_DIR is copied in any case"
_WATCHED = "SRC_DIR is watched in any case, unless by --once"
_OF_SSH = "how to get there is the command at the end: ssh -p 2222 host sh"
_ELSEWHERE = {
    "--delete": "did you mean --mirror?",
    "--watch": _WATCHED,
    "--follow": _WATCHED,
    **dict.fromkeys(("-a", "-r", "--archive", "--recursive"), _ALL),
    **dict.fromkeys(("-e", "-p", "--port", "--rsh"), _OF_SSH),
    **dict.fromkeys(("--color", "--no-color"), "NO_COLOR=1 takes the colours away"),
    "--force": "there is nothing to be forced",
    "--ignore": "did you mean --exclude?",
    "--no-watch": "did you mean --once?",
    "--timeout": "did you mean --connect-timeout?",
    "-z": "did you mean --compress?",
}
_TAKE_COMMANDS = ("--on-sync", "--run", "--watch-with")
_COMPOSE = ("docker-compose", "podman-compose", "compose")
_ENGINES = ("docker", "podman", "kubectl", "nerdctl", *_COMPOSE[:2])
_WAYS = (*_ENGINES, "bash", "dash", "sh", "ssh", "sudo", "zsh")
_OTHER_SHELLS = ("csh", "elvish", "fish", "nu", "pwsh", "tcsh", "xonsh")
_LONG_DASHES = "\N{EN DASH}\N{EM DASH}"
_TERMINALS = {"-t", "-it", "-ti", "--tty"}
_INPUTS = {"-i", "-it", "-ti", "--interactive", "--stdin"}
# Not compiled before they are needed: it takes a millisecond.
_REMOTE = r"(?s)(?:(?P<user>[\w.+-]+)@)?(?P<host>[\w.-]+):(?P<path>.*)"
_URL = (
    r"(?s)(?:ssh|scp|sftp|rsync)://(?P<user>[^@/]+@)?(?P<host>[^:/]+)"
    r"(?::(?P<port>\d+))?(?P<path>/.*)?"
)


def command_first(places: Sequence[str]) -> None:
    """Raise ``Stop`` if the command stands in front; its options would be taken for ours."""
    if places and places[0] in _WAYS and not os.path.isdir(places[0]):
        example = f"file-replicator my_project /home/code -- {places[0]} ..."
        said = "SRC_DIR and DEST_PARENT_DIR stand in front of the command"
        raise Stop(USAGE, f"{said}: {example}")


def unknown_option(name: str, options: Collection[str]) -> None:
    """Raise ``Stop`` with the option that does what ``name`` may have been meant for."""
    if name in _ELSEWHERE:
        hint = f"{_ELSEWHERE[name]}; see --help".replace("?;", "?")
        raise Stop(USAGE, f"unknown option {quote(name)}; {hint}")
    raise Stop(USAGE, f"unknown option {quote(name)}; {close_to(name, options)}")


def unquoted(typed: Sequence[Sequence[str]], options: Collection[str]) -> None:
    """Raise ``Stop`` for an unknown option behind one that takes a command.

    ``typed``: the options, each with its value.
    """
    for (name, *value), (word, *_) in zip(typed, typed[1:]):
        if name not in _TAKE_COMMANDS or not value or value[0].split()[1:]:
            continue
        known = word.partition("=")[0] in options or word[:2] in options
        if not known and "did you mean" not in close_to(word, options):
            meant = quote(f"{value[0]} {word} ...")
            said = f"{name} takes its command as one word, in quotes"
            raise Stop(USAGE, f"unknown option {quote(word)}; {said}: {name} {meant}")


def unknown_in_profile(path: str, name: str, options: Collection[str]) -> NoReturn:
    """Raise ``Stop`` with what may have been meant by ``name`` in the profile ``path``."""
    hint = "write a word a line" if name.split()[1:] else close_to(name, options)
    raise Stop(USAGE, f"{quote(path)}: unknown option {quote(name)}; {hint}")


def no_value(name: str) -> NoReturn:
    """Raise ``Stop`` for an option that stands last and wants a word."""
    raise Stop(USAGE, f"{name} needs a value behind it; see --help")


def refuse_nameless(name: str, places: Sequence[str]) -> None:
    """Raise ``Stop`` where --save has taken what follows for the name that was forgotten."""
    is_source = "/" in name or os.path.isdir(name)
    if name.startswith("-"):
        raise Stop(USAGE, f"--save needs a name for these words, in front of {name}")
    if is_source and not (places and os.path.isdir(places[0])):
        example = f"file-replicator --save web {shown(name)} /srv/app -- ssh host sh"
        said = f"--save needs a name for these words, in front of {quote(name)}"
        raise Stop(USAGE, f"{said}: {example}")


def no_profile(name: str) -> str:
    text = f"there is no {profiles.FOLDER}/{name} here or in a directory above"
    others = profiles.names()
    if others:
        return f"{text}; there is " + ", ".join(f"@{one}" for one in others)
    return f"{text}; --save {name} makes one"


def missing(
    places: Sequence[str],
    connection: Sequence[str],
    each: Sequence[str] = (),
    saves: bool = False,
    taken: Sequence[str] = (),
) -> None:
    """Raise ``Stop`` if there is not all that a copy needs, with an example that has it.

    ``saves``: it is to be saved, so the first word is a name. ``taken``: an option and its
    value, which may have been meant for SRC_DIR.
    """
    if list(places) == ["help"]:
        raise Stop(USAGE, "see -h, or --help for all options")
    if each and not places:
        each_before_places()
    for name, word in zip(_NAMES, [*places, *connection[:1]]):
        if not word:
            raise Stop(USAGE, f"{name} is empty; is a variable not set?")
        if word[0] in _LONG_DASHES:
            said = f"{quote(word)} begins with a long dash, and an option with - or --"
            raise Stop(USAGE, f"{said}; was it copied from a text?")
    source = places[0] if places else "my_project"
    if len(places) > 1:
        _refuse_remote(source, places[1], connection)
        _refuse_variable(places[1])
        if not (saves or taken):
            _refuse_way(source, places[1], connection)
    absent = [*_NAMES[len(places) : 2], *([] if connection else _NAMES[2:])]
    if absent and places and _remote(source) and not os.path.isdir(source):
        raise Stop(USAGE, f"{quote(source)} cannot be SRC_DIR: {_ONE_WAY}")
    if not absent:
        if "{}" in places[1] and not (each or saves):
            raise Stop(USAGE, f"{{}} stands for each word behind --each: {_EACH}")
        return
    there = places[1] if len(places) > 1 else "/home/code"
    said = " and ".join([", ".join(absent[:-1]), absent[-1]] if absent[1:] else absent)
    verb = "are" if absent[1:] else "is"
    if not places:
        said += f" {verb} missing, and there is no {profiles.FOLDER}/{profiles.DEFAULT}"
    else:
        said += f" {verb} missing"
    many = _each_and_command(each) if each else ""
    ways = many or "-- ssh host sh"
    if taken:
        said += f", as {taken[0]} has taken {quote(taken[1])} for its value"
    program = "file-replicator --save web" if saves else "file-replicator"
    example = f"{program} {shown(source)} {shown(there)} {ways}"
    raise Stop(USAGE, f"{said}: {example}; see -h")


def _each_and_command(each: Sequence[str]) -> str:
    """How the words of --each and the command are typed.

    Where the command is among the words, `--` in front of it was forgotten.
    """
    at = next((at for at, word in enumerate(each) if at and word in _WAYS), len(each))
    command = [shown(word) for word in each[at:]] or ["ssh", "{}", "sh"]
    return " ".join(["--each", *map(shown, each[:at]), "--", *command])


_EACH = "file-replicator my_project /srv/app --each web1 web2 -- ssh {} sh"


def each_of_none() -> NoReturn:
    """No word stands behind --each."""
    raise Stop(USAGE, f"--each takes a word for each far end: {_EACH}")


def each_before_places() -> NoReturn:
    """The words of --each go up to ``--``, and there were no others."""
    said = (
        "SRC_DIR and DEST_PARENT_DIR stand before --each, which takes all words to `--`"
    )
    raise Stop(USAGE, f"{said}: {_EACH}")


def each_without_place(words: Sequence[str]) -> NoReturn:
    """Nothing tells the words of --each where to go."""
    said = f"nothing says where {shown(words[0])} goes; put {{}} in its place"
    raise Stop(USAGE, f"{said}: {_EACH}")


_SPECIAL = frozenset(b"*?[\\")  # has a part none of these, it is no pattern


def refuse_path(option: str, pattern: str, source: bytes) -> None:
    """Raise ``Stop`` where ``pattern`` is a path from here into ``source``.

    Patterns begin in SRC_DIR, and nothing there is so called: it would match nothing, and what
    was to be left out would be sent.
    """
    path = os.fsencode(pattern)
    path = os.path.expanduser(path) if path.startswith(b"~/") else path
    above = path.rstrip(b"/").split(b"/")[:-1]
    plain = list(itertools.takewhile(_SPECIAL.isdisjoint, above))
    while plain and not os.path.isdir(b"/".join(plain)):
        plain.pop()  # it may be made later
    prefix = b"/".join(plain)
    if not prefix.strip(b"/"):
        return
    first = prefix.lstrip(b"/").partition(b"/")[0]
    inside = os.path.relpath(os.path.realpath(prefix), source)
    out = inside == b".." or inside.startswith(b"../")
    if out or first != b".." and os.path.lexists(os.path.join(source, first)):
        return
    meant = (b"" if inside == b"." else b"/" + inside) + path[len(prefix) :]
    said = f"{option} {quote(path)} would match nothing, as it is relative to SRC_DIR"
    raise Stop(USAGE, f"{said}; write {quote(meant)}")


_ONE_WAY = "SRC_DIR is a directory here, copies go from here to there only"


def no_source(text: str, args: Mapping[str, Any]) -> str:
    """SRC_DIR cannot be used. A value among ``args`` may have been meant for it."""
    if _remote(text):
        return f"; {_ONE_WAY}"
    if text.startswith(("~", "$")):
        what = (
            "the home directory in for ~" if text[0] == "~" else "in what $ stands for"
        )
        return f"; the shell puts {what}, but not in quotes or a profile"
    if text[:1] in "'\"" and text[:1] == text[-1:]:
        return "; in a profile a word has no quotes around it"
    if os.path.isfile(text):
        return "; SRC_DIR is a directory, such as the one that this file is in"
    both = f"{text} {args['DEST_PARENT_DIR']}"
    if os.path.isdir(both):
        return f"; is it {quote(both)}? then write it in quotes"
    for option, value in args.items():
        for one in value if isinstance(value, list) else [value]:
            if option.startswith("--") and isinstance(one, str) and os.path.isdir(one):
                return f"; is it {quote(one)}, which {option} has taken for its value?"
    for option in _TAKE_COMMANDS:
        words = (args.get(option) or "").split()
        if len(words) == 1:
            meant = quote(f"{words[0]} {text}")
            return f"; if it is the command's, put both in quotes: {option} {meant}"
    return "; see -h" if text == "help" else ""


def _remote(place: str) -> Optional[re.Match[str]]:
    """A host and a directory there, as rsync, scp or an address on the web has them."""
    if ":" not in place.partition("/")[0]:
        return None
    return re.fullmatch(_URL, place) or re.fullmatch(_REMOTE, place)


def _refuse_remote(source: str, there: str, connection: Sequence[str]) -> None:
    """rsync's and scp's way to name a host has its own place here: the command."""
    found = _remote(there)
    if found is None:
        return
    parts = found.groupdict()
    user = (parts["user"] or "").rstrip("@")
    host = f"{user}@{parts['host']}" if user else parts["host"]
    port = f"-p {parts['port']} " if parts.get("port") else ""
    if connection and not connection[1:] and connection[0] in _ENGINES:
        shell = ["--", "sh"] if connection[0] == "kubectl" else ["sh"]
        option = "-T" if connection[0] in _COMPOSE else "-i"
        connection = [*connection, "exec", option, host, *shell]
    ways = " ".join(map(shown, connection)) or f"ssh {port}{host} sh"
    example = f"file-replicator {shown(source)} {shown(parts['path'] or '~')} -- {ways}"
    raise Stop(
        USAGE,
        f"DEST_PARENT_DIR is a directory at the far end, and how to get there is a"
        f" command: {example}",
    )


def _refuse_variable(there: str) -> None:
    """In single quotes, or in a profile, no shell puts in what it stands for."""
    found = re.match(r"\$HOME\b|\$\{HOME\}", there)
    if found:
        said = f"DEST_PARENT_DIR begins with {found[0]}, for which nothing is put in"
        raise Stop(USAGE, f"{said}; write {quote('~' + there[found.end():])}")


def _refuse_way(source: str, there: str, connection: Sequence[str]) -> None:
    """The command begins where DEST_PARENT_DIR should stand: what follows is no command."""
    if there not in _WAYS or connection and _is_command(connection[0]):
        return
    words = " ".join(map(shown, [there, *connection]))
    example = f"file-replicator {shown(source)} /home/code -- {words}"
    raise Stop(
        USAGE, f"DEST_PARENT_DIR is missing in front of {quote(there)}: {example}"
    )


def _is_command(word: str) -> bool:
    import shutil

    return shutil.which(word) is not None


def shown(word: str) -> str:
    """``word`` as it can be typed."""
    return word if re.fullmatch(r"([\w@%+=:,./-]|\{\})+", word) else quote(word)


def refused(why: str, parent: bytes) -> str:
    """The far end could not use the destination, and said ``why``.

    Our own home directory need not be there.
    """
    if why.startswith("another run, "):
        return "; stop it, or give this copy a name of its own with --as"
    home = os.fsencode(os.path.expanduser("~"))
    if "mkdir" in why and home != b"/" and (parent + b"/").startswith(home + b"/"):
        return f"; its own home directory is '~{os.fsdecode(parent[len(home):])}', in quotes"
    return ""


def not_run(words: Sequence[str]) -> str:
    """The system knows no command of that name."""
    first, rest = words[0], words[1:]
    if not rest and len(first.split()) > 1:
        return "; write it without quotes around it, in a profile a word a line"
    if not rest and "/" not in first:
        return f"; if it is a machine, write: ssh {shown(first)} sh"
    return ""


def no_answer(words: Sequence[str]) -> str:
    """The command, of which nothing is heard, may not read what it is sent, or wait for more."""
    engine = _engine(words)
    waits = _INPUTS.isdisjoint(engine) and not _composes(engine)
    hint = _has_terminal(words) if waits else ""
    return hint or _reads_nothing(words) or no_posix_shell(words)


def _has_terminal(words: Sequence[str]) -> str:
    engine = _engine(words)
    if _composes(engine):
        return (
            "" if "-T" in engine else "; compose's exec takes -T here, and no -i or -t"
        )
    if not _TERMINALS.isdisjoint(engine):
        return f"; {engine[0]} exec takes -i here, without -t"
    return ""


def _composes(engine: Sequence[str]) -> bool:
    return bool(engine) and not set(_COMPOSE).isdisjoint(engine[: engine.index("exec")])


def _engine(words: Sequence[str]) -> list[str]:
    """docker or the like, and what it is given, if that is to run a shell.

    Perhaps by way of sudo or ssh.
    """
    names = [os.path.basename(word) for word in words]
    at = next((at for at, name in enumerate(names) if name in _ENGINES), len(names))
    return names[at:] if "exec" in names[at:] else []


def _reads_nothing(words: Sequence[str]) -> str:
    if words and os.path.basename(words[0]) == "ssh":
        for word in itertools.takewhile(lambda one: one.startswith("-"), words[1:]):
            if word in ("-N", "-f", "-n"):
                return f"; ssh reads no standard input with {word}: leave that out"
    return ""


def no_posix_shell(words: Sequence[str]) -> str:
    """A shell of another kind takes all that it is sent for one script, without an end."""
    last = os.path.basename(words[-1]) if words else ""
    if last not in _OTHER_SHELLS or os.path.basename(words[-2:][0]) == "ssh":
        return ""  # or in the name of a host
    return f"; {last} is no POSIX shell, put sh in its place"


def not_answered(words: Sequence[str], status: int, options: Collection[str]) -> str:
    """The command ended with ``status`` before a shell answered.

    ``options`` are ours; a command would not understand them.
    """
    for word in words[1:]:
        name = word.partition("=")[0]
        if name.startswith("--") and name in options:
            return f"; options such as {quote(name)} go before SRC_DIR"
    engine = _engine(words)
    asks = status or _composes(engine)  # whose help ends with 0
    hint = _has_terminal(words) if asks else _reads_nothing(words)
    if hint:
        return hint
    if status == 0:
        if engine and _INPUTS.isdisjoint(engine):
            return f"; it read no standard input: {engine[0]} exec needs -i"
        for_example = "" if engine else " (docker exec needs -i)"
        said = "it read no standard input, where a shell must take its commands"
        return f"; {said}{for_example}"
    last = os.path.basename(words[-1])
    if status in (126, 127) and last in ("bash", "zsh", "ash", "dash", "ksh"):
        return f"; if there is no {last} over there, try sh"
    return ""
