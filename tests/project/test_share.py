"""Manual pages and completions, made from the usage texts: in the shells and in man(1)."""

from __future__ import annotations

import contextlib
import fcntl
import os
import pty
import re
import struct
import subprocess
import termios
from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import Path

import completion
import docopt
import farends
import pytest
import share
import usage
from programs import ROOT, read_until, run

PROGRAMS = list(usage.MODULES)
BASH_COMPLETION = "/usr/share/bash-completion/bash_completion"


@pytest.fixture(scope="module")
def prefix(tmp_path_factory: pytest.TempPathFactory) -> Path:
    where = tmp_path_factory.mktemp("prefix")
    share.write(where)
    return where / "share"


@pytest.fixture
def here(tmp_path: Path) -> Path:
    """Where completing is tried: a directory, a file, and one command of a rare name."""
    (tmp_path / "here/my_project").mkdir(parents=True)
    (tmp_path / "here/my_file").write_text("")
    for where, name in ((tmp_path, "above"), (tmp_path / "here", "morning")):
        (where / ".file-replicator").mkdir()
        (where / ".file-replicator" / name).write_text("")
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/qwert-shell").symlink_to("/bin/true")
    return tmp_path / "here"


def in_path(here: Path) -> dict[str, str]:
    path = f"{here.parent}/bin:{os.environ['PATH']}"
    return {
        **os.environ,
        "PATH": path,
        "HOME": str(here),
        "TERM": "dumb",
        "LC_ALL": "C.UTF-8",
    }


# --- the usage texts ------------------------------------------------------------------


@pytest.mark.parametrize("program", PROGRAMS)
def test_the_options_are_those_that_the_program_takes(program: str) -> None:
    text = import_module(f"filerep.{usage.MODULES[program]}").__doc__ or ""
    after = docopt.parse_docstring_sections(text).after_usage
    taken = {(o.short, o.longer, bool(o.argcount)) for o in docopt.parse_options(after)}
    found = {
        (o.short or None, o.long or None, bool(o.value))
        for o in usage.read(program).options
    }
    assert found == taken


@pytest.mark.parametrize("program", PROGRAMS)
def test_a_usage_text_fits_a_terminal(program: str) -> None:
    done = run([program, "--help"])
    assert max(map(len, done.stdout.decode().splitlines())) < 80


def test_a_completion_says_a_sentence_or_whole_clauses() -> None:
    # One that ends in a capital was not seen to end: "... decide about PATH. PATH is...".
    options = [o for program in PROGRAMS for o in usage.read(program).options]
    said = [completion.says(option) for option in options]
    assert "Print which file, line and pattern decide about PATH" in said
    texts = " ".join(word for option in options for word in option.text.split())
    texts = texts.replace("`", "")
    for words in said:
        assert len(words) <= 70
        assert words in texts or words[-3:] == "..." and f"{words[:-3]}, " in texts


# --- man ------------------------------------------------------------------------------


@pytest.mark.parametrize("program", PROGRAMS)
def test_man_shows_the_page_and_has_no_complaint(prefix: Path, program: str) -> None:
    farends.need("man")
    words = [
        "man",
        "--warnings",
        "-P",
        "cat",
        "-l",
        str(prefix / f"man/man1/{program}.1"),
    ]
    done = run(words, env={**os.environ, "MANWIDTH": "79", "LC_ALL": "C.UTF-8"})
    assert (done.returncode, done.stderr) == (0, b"")
    shown = re.sub(r"\x1b\[[\d;]*m|.\x08", "", done.stdout.decode())
    for option in usage.read(program).options:
        assert re.search(rf"^ +(-., )?{option.long}\b", shown, re.MULTILINE), option
    for heading in ("NAME", "SYNOPSIS", "DESCRIPTION", "OPTIONS", "EXIT STATUS"):
        assert f"\n{heading}\n" in shown
    assert max(len(line) for line in shown.splitlines()) < 80


@pytest.mark.parametrize("program", PROGRAMS)
def test_what_the_page_shows_is_the_help(prefix: Path, program: str) -> None:
    """Word by word, whatever of it is bold or indented: so nothing of the text was lost."""
    farends.need("man")
    words = ["man", "-P", "cat", "-l", str(prefix / f"man/man1/{program}.1")]
    done = run(words, env={**os.environ, "MANWIDTH": "500", "LC_ALL": "C.UTF-8"})
    page = re.sub(r"\x1b\[[\d;]*m|.\x08", "", done.stdout.decode())
    page = page.split("\nDESCRIPTION\n")[1].split("\nSEE ALSO\n")[0]
    help_ = run([program, "--help"]).stdout.decode().replace("`", "")
    body = help_.split("\n\n", 2)[2]  # behind the summary and the synopsis
    headings = [one.heading for one in usage.read(program).sections]
    headings += [heading.upper() for heading in headings]
    shown = [line for line in page.splitlines() if line.strip() not in headings]
    wanted = [line for line in body.splitlines() if line.rstrip(":") not in headings]
    assert " ".join(shown).split() == " ".join(wanted).split()


# --- the shells -----------------------------------------------------------------------

# What is typed, and what the word under the cursor can become; nothing else is offered for
# those that end in `!`.
TYPED = [
    ("fr-walk --no-gi", "--no-gitignore"),
    ("fr-watch --read", "--ready-fd"),
    ("fr-walk my_p", "my_project"),
    ("fr-pack --state my_f", "my_file"),
    ("fr-pack --exclude x my_p", "my_project"),
    ("file-replicator --no-gi", "--no-gitignore"),
    ("file-replicator my_p", "my_project"),
    ("file-replicator @mor", "@morning"),
    ("file-replicator --wait @abo", "@above"),
    ("file-replicator my_project --no-gi", "--no-gitignore"),
    ("file-replicator --exclude x my_project my_p", "my_project"),
    ("file-replicator my_project /x qwert-", "qwert-shell"),
    ("file-replicator my_project /x -- qwert-", "qwert-shell"),
    ("file-replicator --exclude=x -- my_project /x qwert-", "qwert-shell"),
    ("file-replicator --on-sync 'make test' my_project /x -- qwert-", "qwert-shell"),
    ("file-replicator my_project /x -- qwert-shell my_f", "my_file"),
    ("file-replicator my_project /x qwert-shell my_f", "my_file"),
    ("file-replicator --on-sync qwert-", "qwert-shell"),
]


def fish_script(prefix: Path) -> str:
    script = ""
    for program in PROGRAMS:
        script += f"source {prefix}/fish/vendor_completions.d/{program}.fish\n"
    for typed, _ in TYPED:
        quoted = typed.replace("'", "\\'")
        script += f"complete -C '{quoted}'\necho =====\n"
    return script


def test_fish_completes(prefix: Path, here: Path) -> None:
    (fish,) = farends.need("fish")
    words = [fish, "--no-config", "-c", fish_script(prefix)]
    done = run(words, cwd=here, env=in_path(here))
    assert done.stderr == b""
    answers = done.stdout.decode().split("=====\n")
    for (typed, wanted), offered in zip(TYPED, answers):
        words = [line.partition("\t")[0].rstrip("/=") for line in offered.splitlines()]
        assert words == [wanted], typed


class Shell:
    """A shell at a terminal that is wide enough for any line, with a prompt of its own."""

    def __init__(self, words: list[str], here: Path, setup: str) -> None:
        self.master, slave = pty.openpty()
        size = struct.pack("HHHH", 24, 500, 0, 0)
        fcntl.ioctl(slave, termios.TIOCSWINSZ, size)
        self.process = subprocess.Popen(
            words,
            stdin=slave,
            stdout=slave,
            stderr=slave,
            cwd=here,
            env=in_path(here),
            preexec_fn=lambda: (
                os.setsid(),
                fcntl.ioctl(slave, termios.TIOCSCTTY, 0),
            ),
        )
        os.close(slave)
        os.write(self.master, f"{setup}; PS1='rea''dy> '\n".encode())
        read_until(self.master, b"ready> ")

    def completes(self, typed: str, wanted: str) -> None:
        """The last word of what is ``typed`` becomes ``wanted`` when Tab is hit."""
        last = typed.split()[-1]
        assert wanted.startswith(last)
        os.write(self.master, typed.encode())
        read_until(self.master, typed.encode())
        os.write(self.master, b"\t")
        read_until(self.master, wanted[len(last) :].encode(), 10)
        os.write(self.master, b"\x15\n")  # Ctrl-U: away with it
        read_until(self.master, b"ready> ")

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        os.close(self.master)


@pytest.fixture
def shell(here: Path) -> Iterator[Callable[[list[str], str], Shell]]:
    with contextlib.ExitStack() as stack:

        def start(words: list[str], setup: str) -> Shell:
            one = Shell(words, here, setup)
            stack.callback(one.close)
            return one

        yield start


@pytest.mark.parametrize("with_package", [False, True], ids=["bare", "bash-completion"])
def test_bash_completes(
    prefix: Path, shell: Callable[[list[str], str], Shell], with_package: bool
) -> None:
    sources = [f"{prefix}/bash-completion/completions/{one}" for one in PROGRAMS]
    if with_package:
        if not os.path.exists(BASH_COMPLETION):
            pytest.skip("needs bash-completion: apt-get install bash-completion")
        sources.insert(0, BASH_COMPLETION)
    setup = "; ".join(f". {path}" for path in sources)
    words = ["bash", "--norc", "--noprofile", "-i"]
    bash = shell(words, f"bind 'set enable-bracketed-paste off'; {setup}")
    for typed, wanted in TYPED:
        bash.completes(typed, wanted)


def test_a_profile_with_the_name_of_a_command_is_offered_in_quotes(
    prefix: Path, here: Path, tmp_path: Path
) -> None:
    other = tmp_path / "other"
    (other / ".file-replicator").mkdir(parents=True)
    (other / ".file-replicator/x;touch $(y)").touch()
    source = f"{prefix}/bash-completion/completions/file-replicator"
    script = f""". {source}
COMP_WORDS=(file-replicator @x) COMP_CWORD=1
$(complete -p file-replicator | sed 's/.*-F //; s/ .*//')
eval "printf %s ${{COMPREPLY[*]}}"
"""
    done = run(["bash", "-c", script], cwd=other, env=in_path(here))
    assert done.stdout == b"@x;touch $(y)"
    assert os.listdir(other) == [".file-replicator"]


def test_zsh_completes(prefix: Path, shell: Callable[[list[str], str], Shell]) -> None:
    (program,) = farends.need("zsh")
    setup = f"fpath=({prefix}/zsh/site-functions $fpath); autoload -U compinit"
    zsh = shell([program, "-f", "-i"], f"bindkey -e; {setup}; compinit -u -D")
    for typed, wanted in TYPED:
        zsh.completes(typed, wanted)
