"""Print every path of a directory tree that counts, each ended by a NUL byte.

Usage:
  fr-walk [options] [--exclude PATTERN]... [--include PATTERN]...
          [--exclude-from FILE]... [--include-from FILE]... SRC

Regular files and symbolic links are named, relative to SRC; a link is never
followed. Directories are not named: they exist at the destination because
files in them do. Sockets, fifos and devices are left out, and so is a name in
SRC itself that begins with .filerep-, where a destination keeps what is on its
way.

With --gitignore the answer is git's: what
`git ls-files --cached --others --exclude-standard -z` prints in SRC. It takes
in .gitignore files, also those above SRC up to the top of its repository,
.git/info/exclude and core.excludesFile. `.git` itself is left out. A tracked
file is printed though a rule ignores it. Another repository inside SRC, a
submodule say, is walked by its own rules. Where SRC is in no repository, the
.gitignore files in it count all the same. Where rules above SRC ignore SRC
itself, these rules do not count, and a line says so.

What the kernel makes up where it is mounted in SRC (/proc, /sys and their
like) is left out whatever any rule says, and a line says so.

git is not needed, and nothing is started for what a repository says. Of one
that belongs to another user, which git refuses (safe.directory), neither the
settings nor the list of tracked files is read, and a line says so.

What editors put beside a file while they work on it (.a.swp, a~, #a#, 4913 and
their like) is left out, as by the weakest of all rules: it is printed if git
tracks it, or if `!*~` in a .gitignore, or --include, brings it back.

With --stdin paths are read, and those that count are printed, in their order,
as they are spelled, each as soon as it came: so the list of another program
(`find -print0`, `fd -0`) gets git's exact answer. They are relative to SRC, or
absolute and in SRC. What is not there is judged by its name, as a file unless
it ends in `/`. A directory counts if anything in it may. Nothing that is
reached through a symbolic link counts.

Options:
  --gitignore        Leave out what git ignores (the default).
  --no-gitignore     Print everything, .git included, but no editors' files.
  --exclude PATTERN  Leave out what matches PATTERN, a line as in gitignore(5).
                     It is relative to SRC, and wins over every .gitignore and
                     over git's list of tracked files. May be given again; `!`
                     takes back what an earlier one says.
  --include PATTERN  Print what matches, whatever else says no, --exclude too.
                     `--include dist/` brings back all of an ignored dist. A
                     pattern with a slash before its end (`/build/out/*.map`)
                     is looked for in directories that are left out, one
                     without is not. May be given again.
  --exclude-from FILE
                     Leave out what matches a line of FILE, read as a
                     .gitignore in SRC. What --exclude says wins over it. A
                     FILE called .dockerignore, or ending so, is read as
                     Docker reads it. May be given again.
  --include-from FILE
                     Print what matches a line of FILE. What --include says
                     wins over it. May be given again.
  --editor-files     Print editors' files too.
  --why PATH         Print which file, line and pattern decide about PATH.
                     PATH is relative to SRC and need not be there; the form is
                     that of `git check-ignore -v -n`. `::` is none, or that
                     git tracks it. On a terminal it is said in words, too.
  --stdin            Read paths, each ended by a NUL, print those that count.
  -v, --invert       Print those that do not, with --stdin.
  --verbose          Name what is left out because it is no file and no link.
  -h, --help         Print this text.
  -V, --version      Print the version.

Exit status:
  0   every path was printed
  1   something could not be read, which a line on stderr names; the rest was
      printed
  64  wrong usage
  66  SRC is not a directory, or a FILE cannot be used
  70  a bug
  71  the system refused
  74  standard output took no more (a reader that closes it is no error)

Examples:
  fr-walk . | fr-pack . | ssh host 'tar -x -C /srv/app'
  find . -name '*.proto' -print0 | fr-walk --stdin . | xargs -0 wc -l
"""

from __future__ import annotations

import os
import stat
import time

from filerep import command
from filerep.pathstream import Records, encode, normalize, quote
from filerep.rules import ignore
from filerep.rules.explaining import MADE_UP, TRACKED, explain, quotes_bytes
from filerep.rules.lastread import LastRead
from filerep.rules.userrules import EDITORS_SHOWN
from filerep.rules.walking import directories

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from typing import Optional

    from filerep.rules.ignore import Rules
    from filerep.rules.lastread import OnNote
    from filerep.rules.origin import OnError
    from filerep.rules.rulefile import Rule
    from filerep.rules.walking import Place, Renew
    from filerep.watching.currentrules import Judge

# A walk that takes longer looks whether the rules are others by now.
_FRESH_SECONDS = 0.05
# In a deep tree that takes long: for so many times as long it goes on then.
_FRESH_TIMES = 1.0


def main(argv: Sequence[str] | None = None) -> int:
    return command.run("fr-walk", __doc__ or command.usage(__spec__), _body, argv)


def _body(run: command.Command) -> int:
    root = command.source_root(run.args["SRC"])
    since_ns = time.time_ns()
    on_error, on_note = _once(run)
    last = LastRead()

    def load() -> Rules:
        return ignore.load_asked(root, run.args, on_error, on_note, last)

    if run.args["--stdin"]:
        return _sift(run, root, load)
    rules = load()
    if run.args["--invert"]:
        raise command.Stop(command.USAGE, "--invert goes with --stdin; see --help")
    if run.args["--why"] is not None:
        return _tell_why(run, root, os.fsencode(run.args["--why"]), rules)

    def on_other(path: bytes) -> None:
        run.say(f"left out {quote(path)}: not a file, directory or symbolic link")

    other = on_other if run.args["--verbose"] else None
    renew = _renewing(root, load, rules, since_ns)
    write(1, directories(root, rules, run.on_error, other, renew))
    return run.status


def _once(run: command.Command) -> tuple[OnError, OnNote]:
    """Say what is wrong with the rules, once however often they are read."""
    said: set[object] = set()

    def on_error(action: str, path: bytes, error: OSError) -> None:
        if (action, path) not in said:
            said.add((action, path))
            run.on_error(action, path, error)

    def on_note(text: str) -> None:
        if text not in said:
            said.add(text)
            run.say(text)

    return on_error, on_note


def _renewing(
    root: bytes, load: Callable[[], Rules], rules: Rules, since_ns: int
) -> Renew:
    """What gives a walk the rules of ``root`` as they are by then, now and then.

    It begins with ``rules``, which were read after ``since_ns``.
    """
    judge: Optional[Judge] = None
    due = time.monotonic() + _FRESH_SECONDS
    began = 0.0

    def renew(way: Sequence[Place]) -> Optional[Rules]:
        nonlocal judge, due, began
        now = time.monotonic()
        if began:
            due, began = max(due, now + _FRESH_TIMES * (now - began)), 0.0
        if now < due:
            return None
        began = now
        try:
            if not os.path.samestat(os.stat(root), os.fstat(way[0].fd)):
                return None  # it is not there any more: no rules are there, either
            judge = judge or _judge(root, load, rules, since_ns)
            for place in way:
                judge.entered(place.prefix[:-1], place.rules)
            while not judge.rests([place.prefix[:-1] for place in way]):
                time.sleep(max(0.0, judge.due - time.monotonic()))
            return judge.top()
        except OSError:
            return None
        finally:
            due = time.monotonic() + _FRESH_SECONDS

    return renew


def _judge(
    root: bytes, load: Callable[[], Rules], rules: Rules, since_ns: int
) -> Judge:
    from filerep.watching.currentrules import Judge  # most walks do not take so long
    from filerep.watching.rootcheck import Root

    judge = Judge(Root(root), load, time.monotonic, time.time_ns)
    judge.begin(rules, since_ns)
    return judge


def _sift(run: command.Command, root: bytes, load: Callable[[], Rules]) -> int:
    """Standard input's paths, those that count, until it ends or the reader has gone."""
    from filerep.rules.sieve import Sieve, arriving  # which the walk need not wait for

    def on_outside(record: bytes) -> None:
        run.on_bad(f"{quote(record)} is not in {quote(root)}")

    sieve = Sieve(root, load(), load, run.on_error, on_outside)
    records = Records(0)
    try:
        for some in arriving(records, 1, sieve.forget):
            kept = sieve.sift(some, run.args["--invert"])
            command.write_all(1, encode(kept))
        last = records.unended
        if b"\n" in last and not os.path.lexists(os.path.join(root, last)):
            run.on_bad("a path ends in a NUL byte, not a newline: `find -print0`")
    except OSError as error:
        why = f"cannot read standard input: {command.reason(error)}"
        raise command.Stop(command.NO_INPUT, why) from None
    finally:
        sieve.close()
    return run.status


def _tell_why(run: command.Command, root: bytes, text: bytes, rules: Rules) -> int:
    command.write_all(1, _why(root, text, rules))
    if os.isatty(1):  # for a person the same in words
        there = os.path.lexists(os.path.join(root, text))
        absent = "" if there else f"; it is not in {quote(root)} now"
        words = in_words(explain(root, _typed(root, text), rules))
        if words.startswith("is printed"):
            words = never(root, _typed(root, text)) or words
        run.say(f"{quote(text)} {words}{absent}")
    return run.status


def never(root: bytes, path: bytes) -> str:
    """Why ``path`` is left out whatever the rules say, for a person; empty if it is not."""
    for at, byte in enumerate(path):
        above = path[:at]
        if byte == ord("/") and os.path.islink(os.path.join(root, above)):
            return f"is left out: {quote(above)} is a symbolic link, and printed as one"
    try:
        mode = os.lstat(os.path.join(root, path)).st_mode
    except OSError:
        return ""
    if stat.S_ISREG(mode) or stat.S_ISDIR(mode) or stat.S_ISLNK(mode):
        return ""
    return "is left out: it is a fifo, a socket or a device"


def _typed(root: bytes, text: bytes) -> bytes:
    """The path that was typed, from SRC; raises ``Stop``."""
    inside = os.path.join(os.path.realpath(root), b"")
    path = normalize(text[len(inside) :] if text.startswith(inside) else text)
    if path is None or path in (b".", b"./"):
        raise command.Stop(
            command.USAGE, f"--why takes a path below SRC, not {quote(text)}"
        )
    return path


def _why(root: bytes, text: bytes, rules: Rules) -> bytes:
    """A line as `git check-ignore -v -n` prints it."""
    rule = explain(root, _typed(root, text), rules)
    found = b"::"
    if rule and rule is not TRACKED:
        source = c_quote(rule.source, quotes_bytes(rules))
        found = b"%s:%d:%s" % (source, rule.line, rule.text)
    return b"%s\t%s\n" % (found, c_quote(text, quotes_bytes(rules)))


def in_words(rule: Optional[Rule]) -> str:
    """What ``rule`` decides, for a person; None if there is none."""
    if rule is None:
        return "is printed: no rule names it"
    if rule is TRACKED:
        return "is printed: git tracks it"
    if rule is MADE_UP:
        return "is left out: the kernel makes it up"
    said = "is printed" if rule.keep else "is left out"
    if not rule.line:
        return f"{said}: it is git's own"
    if rule.source == EDITORS_SHOWN:
        return f"{said} as editors' files are; --editor-files brings it back"
    if rule.source.startswith(b"--"):
        return f"{said} by {os.fsdecode(rule.source)} {quote(rule.text)}"
    return f"{said} by line {rule.line} of {quote(rule.source)}: {quote(rule.text)}"


_ESCAPES = {
    7: "a",
    8: "b",
    9: "t",
    10: "n",
    11: "v",
    12: "f",
    13: "r",
    34: '"',
    92: "\\",
}


def c_quote(name: bytes, beyond_ascii: bool) -> bytes:
    """``name`` as git prints one: in double quotes where it holds what needs it.

    With ``beyond_ascii`` that is every byte beyond ASCII too (core.quotePath).
    """
    shown = ""
    for byte in name:
        if byte in _ESCAPES:
            shown += "\\" + _ESCAPES[byte]
        elif byte < 0x20 or byte == 0x7F or (byte > 0x7F and beyond_ascii):
            shown += f"\\{byte:03o}"
        else:
            shown += chr(byte)
    text = shown.encode("latin-1")
    return text if text == name else b'"%s"' % text


def write(fd: int, places: Iterator[tuple[bytes, bytes]]) -> None:
    """Write ``directories`` as a path stream; raises OutputError.

    A directory's names stay together, and its path is put before each: so the cost is
    not that of a Python object for each path.
    """
    pending: list[bytes] = []
    length = 0
    for prefix, names in places:
        block = names[:-1].replace(b"\0", b"\0" + prefix)
        pending.append(block)
        length += len(block)
        if length >= 1 << 16:
            command.write_all(fd, b"".join(pending)[1:] + b"\0")
            pending, length = [], 0
    if pending:
        command.write_all(fd, b"".join(pending)[1:] + b"\0")


if __name__ == "__main__":
    command.leave(main())
