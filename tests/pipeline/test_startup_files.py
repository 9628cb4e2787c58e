"""Whatever a start-up file at the far end has set, the copy is right and no data is run."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest
from farends import (
    SYSTEM_PATH,
    local_shell,
    need,
    with_command,
    without_dash_and_perl,
)
from programs import ROOT, run

SCRIPTS = ROOT / "filerep/farend/scripts"
SHELLS = ["bash", "bash-posix", "bash-dash", "dash", "busybox", "mksh", "zsh", "ksh93"]


def names_in_the_scripts() -> list[str]:
    """Every variable that a script of ours gives a value."""
    text = "".join(path.read_text() for path in SCRIPTS.glob("*.sh"))
    text = re.sub(r"perl -C0 -e '.*?' \"", "", text, flags=re.S)
    names = set(re.findall(r"(?:^|[\s;({&|])([a-zA-Z_]\w*)=", text))
    names |= set(re.findall(r"\bfor (\w+)", text))
    names |= {
        name
        for words in re.findall(r"\bread -r ([\w ]+)", text)
        for name in words.split()
    }
    return sorted(names - {"POSIXLY_CORRECT", "FILEREP_SCRIPT", "LC_ALL"})


# Names that a shell finds before any function are for bash alone, below.
COMMANDS = """
    test cd pwd echo printf read wait kill command type tar find stat dd mv cp rm rmdir mkdir chmod mkfifo perl id ls cat
    at put put_one del del_one rmd rmd_one mod say tell bad each unpack moved finish
""".split()

SPECIAL = "set shift unset export trap eval exec exit return".split()

SET = {
    "readonly names": "readonly "
    + " ".join(f"{name}=1" for name in names_in_the_scripts()),
    "functions": "\n".join(f"{name}() {{ :; }}" for name in COMMANDS),
    "aliases": "\n".join(
        f"alias {name}='echo aliased'" for name in [*COMMANDS, *SPECIAL]
    ),
    "traps": "trap 'echo trapped' EXIT INT TERM HUP\n",
    "ignored signals": "trap '' HUP INT QUIT PIPE TERM CHLD",
    "IFS": "IFS=/",
    "set -f": "set -f",
    "set -e": "set -e",
    "set -u": "set -u",
    "set -C": "set -C",
    "set -a": "set -a",
    "set -x": "set -x",
    "exported": "TMOUT=1 CDPATH=/ GLOBIGNORE='*' SHELLOPTS_=1 POSIXLY_CORRECT=1\n"
    "export TMOUT CDPATH GLOBIGNORE POSIXLY_CORRECT; umask 777",
}
BASH = {
    "failglob": "shopt -s failglob",
    "nullglob": "shopt -s nullglob dotglob",
    "noglob for all": "set -f; export SHELLOPTS",
    "options for all": "shopt -s failglob; export BASHOPTS SHELLOPTS",
    "exported functions": "mv() { :; }; rm() { :; }; read() { :; }; export -f mv rm read",
    "ERR and DEBUG": "trap 'echo trapped' ERR DEBUG RETURN; set -o errtrace -o functrace",
    "special": "\n".join(f"function {name} {{ :; }}" for name in SPECIAL),
}
ZSH = {
    "options": "setopt GLOB_SUBST NO_NOMATCH KSH_ARRAYS ERR_EXIT EXTENDED_GLOB",
    "exec": "function exec { echo no }; function kill { echo no }",
}


# One file each, as they do not get into each other's way.
TOGETHER = {
    "names": ["readonly names"],
    "words": ["functions", "aliases", "traps"],
    "options": ["ignored signals", "IFS", *filter(re.compile("set|exp").match, SET)],
    "bash's": ["failglob", "nullglob", "ERR and DEBUG", "exported functions"],
    "for all": ["noglob for all", "options for all"],
    "special": ["special"],
    "zsh's": ["options"],
    "exec": ["exec"],
}
CASES = [(shell, what) for shell in SHELLS for what in ("names", "words", "options")]
CASES += [
    (shell, w)
    for shell in ("bash", "bash-dash")
    for w in ("bash's", "for all", "special")
]
CASES += [("zsh", "zsh's"), ("zsh", "exec")]


@pytest.mark.parametrize("shell, what", CASES, ids=map("-".join, CASES))
def test_nothing_that_a_startup_file_sets_matters(
    shell: str, what: str, base: Path, place: Path
) -> None:
    """The same shell reads it just before it is spoken to, as it would read .zshenv."""
    far = local_shell(shell, "busybox" if shell == "busybox" else "gnu", base).fresh()
    startup = place / "startup"
    texts = {**SET, **BASH, **ZSH}
    startup.write_text("".join(f"{texts[one]}\n" for one in TOGETHER[what]))
    feed = 'file=$1; shift; cat "$file" - | "$@"'
    far = with_command(far, ["sh", "-c", feed, "sh", str(startup), *far.command])
    source = place / "source"
    (source / "d").mkdir(parents=True)
    ran = place / "RAN"
    for name in ("a", "d/b", "d/c"):
        (source / name).write_text(f"\n\ntouch {ran}\n")
    words = ["--no-replicate-on-change", "--connect-timeout", "10"]
    for option in (["--clean-out-first"], []):
        done = run(
            ["file-replicator", *option, *words, source, far.parent, *far.command]
        )
        assert done.returncode == 0, done.stderr.decode()
        (source / "d/b").unlink(missing_ok=True)
    assert not ran.exists()
    there = far.here / "source"
    assert (there / "d/c").read_text() == (source / "d/c").read_text()
    assert sorted(os.listdir(there / "d")) == ["c"] and len(os.listdir(there)) == 2


@pytest.mark.parametrize("name", ["BASH_VERSION", "ZSH_VERSION"])
@pytest.mark.parametrize("shell", ["busybox", "mksh"])
def test_a_variable_of_another_shell_in_the_environment_does_not_matter(
    shell: str, name: str, base: Path, place: Path
) -> None:
    """As of an image that says which bash it brings, and where another shell is entered."""
    far = local_shell(shell, "busybox" if shell == "busybox" else "gnu", base).fresh()
    env, path, *words = far.command
    tools = without_dash_and_perl(base / "tools-but-dash-and-perl")
    path = path.replace(SYSTEM_PATH, tools)
    (place / "source").mkdir()
    (place / "source/f").write_text("f")
    far = with_command(far, [env, path, f"{name}=5.2", *words])
    done = run(
        ["file-replicator", "--once", place / "source", far.parent, *far.command]
    )
    assert done.returncode == 0, done.stderr
    assert (far.here / "source/f").read_text() == "f"


@pytest.mark.parametrize("noise", [[], [f"LD_PRELOAD={os.devnull}.so"]])
def test_a_shell_that_is_not_known_leaves_its_place_to_sh(
    noise: list[str], base: Path, place: Path
) -> None:
    """yash reads ahead from a pipe, into the archive."""
    far = local_shell("dash", "gnu", base).fresh()
    (place / "source").mkdir()
    (place / "bin").mkdir()
    (dash,) = need("dash")
    (place / "bin/yash").symlink_to(dash)
    words = ["env", f"PATH={place}/bin:{os.environ['PATH']}", *noise, "yash"]
    done = run(
        ["file-replicator", "--once", "-v", place / "source", far.parent, *words]
    )
    assert b"the far end has sh and " in done.stderr, done.stderr
