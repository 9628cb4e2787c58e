"""Print every path of a directory tree that counts, each ended by a NUL byte.

Usage:
  fr-walk [options] [--exclude PATTERN]... [--include PATTERN]... SRC

Regular files and symbolic links, relative to SRC; a link is named, never followed.
Sockets, fifos and devices are left out. Directories are not named: they exist at the
destination because files in them do.

With --gitignore the answer is git's: what `git ls-files --cached --others
--exclude-standard -z` prints in SRC. That takes in .gitignore files, also above SRC up
to the top of its repository, .git/info/exclude and core.excludesFile. `.git` itself is
left out. Where SRC is in no repository, the .gitignore files in it count all the same.

Options:
  --gitignore        Leave out what git ignores (the default).
  --no-gitignore     Print everything, .git included.
  --exclude PATTERN  Leave out what matches, in the syntax of gitignore(5), relative to
                     SRC. Wins over every .gitignore. May be given again.
  --include PATTERN  Print what matches, whatever else says no; `--include dist/`
                     brings back all of an ignored dist. May be given again.
  --why PATH         Say which file, line and pattern decided about PATH, and end.
  --verbose          Name what is left out because it is no file and no link.
  -h, --help         Print this text.
  -V, --version      Print the version.

Exit status:
  0   every path was printed
  1   something could not be read; a line on stderr names it; the rest was printed
  64  wrong usage
  66  SRC is not a directory
  74  standard output took no more (a reader that closes it is no error)

Example:
  fr-walk . | fr-pack . | ssh host 'tar -x -C /srv/app'
"""

from __future__ import annotations

import os

from filerep import command, ignore

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from filerep.ignore import OnError, Rules

OPEN_DIR = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


def listing(
    dir_fd: int, path: bytes, rules: Rules, on_error: OnError
) -> tuple[list[bytes], list[bytes]]:
    """The names in the open directory ``path`` that count: files and links, directories."""
    files: list[bytes] = []
    dirs: list[bytes] = []
    try:
        with os.scandir(dir_fd) as entries:
            for entry in entries:
                name = os.fsencode(entry.name)
                if entry.is_dir(follow_symlinks=False):
                    dirs.append(name)
                elif entry.is_file(follow_symlinks=False) or entry.is_symlink():
                    files.append(name)
    except OSError as error:
        on_error("read", path, error)
    return rules.select(files, dirs)


def walk(root: bytes, rules: Rules, on_error: OnError) -> Iterator[bytes]:
    """Every path below ``root`` that counts, depth first."""
    try:
        fd = os.open(root, OPEN_DIR & ~os.O_NOFOLLOW)
    except OSError as error:
        on_error("open", b".", error)
        return
    yield from _walk(fd, b"", rules, on_error)


def _walk(fd: int, prefix: bytes, rules: Rules, on_error: OnError) -> Iterator[bytes]:
    try:
        files, dirs = listing(fd, prefix[:-1] or b".", rules, on_error)
        for name in files:
            yield prefix + name
        for name in dirs:
            try:
                child = os.open(name, OPEN_DIR, dir_fd=fd)
            except OSError as error:
                on_error("open", prefix + name, error)
                continue
            yield from _walk(
                child, prefix + name + b"/", rules.enter(name, child), on_error
            )
    finally:
        os.close(fd)


def main(argv: Sequence[str] | None = None) -> int:
    return command.run("fr-walk", __doc__ or "", _body, argv)


def _body(run: command.Command) -> int:
    root = command.source_root(run.args["SRC"])
    rules = ignore.load(
        root,
        gitignore=not run.args["--no-gitignore"],
        exclude=[os.fsencode(text) for text in run.args["--exclude"]],
        include=[os.fsencode(text) for text in run.args["--include"]],
        on_error=run.on_error,
        on_note=run.say,
    )
    command.write_records(1, walk(root, rules, run.on_error))
    return run.status
