"""git's settings that bear on which paths count, read as git reads them.

To ask `git config` would be shorter. But a program that reads the settings of a
repository obeys them, and whoever made the repository wrote them: so that unpacking an
archive is safe, no program must be started in it. A file among the settings may also be
a fifo, for which git waits without end. And whoever watches must know each file that
the answer depends on, those that are not there too; git does not tell. Therefore the
files are read here: their syntax, their order and `include` and `includeIf` are those of
git-config(1) and of git's config.c.

What depends on who is asked is taken from `environ`, never from this process.
"""

from __future__ import annotations

import errno
import os
import time
from itertools import islice

from filerep.rules import gitversion
from filerep.rules.gitvalues import boolean, expand, optional, settings_directory
from filerep.rules.lastread import Hearer
from filerep.rules.matching import compiled, path_matches
from filerep.rules.untrustedfile import RECENT_NS, read, refuse_directory

TYPE_CHECKING = False
if TYPE_CHECKING:
    import re
    from collections.abc import Iterable, Iterator, Mapping
    from typing import Optional

    from filerep.rules.repository import Repository

    # Section and name in lower case with a full stop between, what stands in the
    # section's quotes, and the value: None where there is not even a `=`.
    Item = tuple[bytes, bytes, Optional[bytes]]
    Said = dict[bytes, Optional[bytes]]

#: How deep includes may lie in each other (config.c, MAX_INCLUDE_DEPTH).
DEEPEST_INCLUDE = 10
#: How many files in all. One that includes itself four times comes to a million before the depth
#: ends that; git ends altogether at the first that is too deep.
MOST_FILES = 100
#: How many settings in all, and bytes in one file: no repository has a tenth of that.
MOST_SETTINGS, LARGEST_FILE = 100_000, 8 << 20
#: How much of `includeIf` is compared: each condition with each remote's address, say. Counted by
#: the bytes of the one times those of the other, as the worst of patterns takes, and some for each.
MOST_COMPARED, EACH_COMPARED = 300_000_000, 100
_ESCAPES = {0x74: b"\t", 0x62: b"\b", 0x6E: b"\n", 0x22: b'"', 0x5C: b"\\"}
# Each part of the group may have to be given back, for which a regex keeps 160 bytes.
_SECTION = rb'\[([A-Za-z0-9.-]+)(?:[ \t]+"([^"\\\n]*(?:\\[^\n][^"\\\n]*){0,10000})")?\]'
_NAME = rb"([A-Za-z][A-Za-z0-9-]*)[ \t]*"
_BLANK = rb"[ \t\r\n]*(?:[#;][^\n]*\n[ \t\r\n]*)*(?:[#;][^\n]*)?"
_PLAIN = rb'[^"\\\n#;]+'
_QUOTED_PLAIN = rb'[^"\\\n]+'
_WORD = rb"((?:'[^']*'|\\['!])+)(?:(=)((?:'[^']*'|\\['!])*))?"
_QUOTED = rb"'([^']*)'|\\(['!])"
_LETTERS = b"abcdefghijklmnopqrstuvwxyz"
_NAME_BYTES = _LETTERS + b"0123456789-"


class BadLine(ValueError):
    """What stands there is no setting; ``line`` is its number."""

    def __init__(self, line: int) -> None:
        super().__init__(f"bad config line {line}")
        self.line = line


def parse(text: bytes) -> Iterable[Item]:
    """The settings in ``text``, in their order; raises ``BadLine`` where they end."""
    items = _simple(text)
    return _parse(text) if items is None else items


def _simple(text: bytes) -> list[Item] | None:
    """As ``parse``, if each line is a section, a comment or a setting of no art.

    Nearly all files are such, and to read them so takes a tenth of the time.
    """
    items: list[Item] = []
    section = inner = None
    if b"\\" in text or b"\r" in text or not text.isascii():
        return None
    for line in text.split(b"\n"):
        line = line.strip(b" \t")
        if not line or line[0] in b"#;":
            continue
        if line[0] == 0x5B:
            section, quote, inner = line[1:-1].lower().partition(b' "')
            if quote:
                inner = line[len(section) + 3 : -2]
                section += b"" if inner else b"."  # `[core ""]` is not `[core]`
            if line[-1] != 0x5D or not section or section.strip(_NAME_BYTES):
                return None
            if quote and (line[-2] != 0x22 or b'"' in inner):
                return None
            continue
        name, equals, value = line.partition(b"=")
        name = name.rstrip(b" \t").lower()
        value = value.strip(b" \t")
        odd = b'"' in value or b"#" in value or b";" in value or b"\t" in value
        if odd or section is None or inner is None or not equals or not name:
            return None
        if name.strip(_NAME_BYTES) or name[0] not in _LETTERS:
            return None
        items.append((section + b"." + name, inner, value))
    return items


def _parse(text: bytes) -> Iterator[Item]:
    text = text.replace(b"\r\n", b"\n")
    at = 3 if text.startswith(b"\xef\xbb\xbf") else 0
    section = dot = b""
    inner: bytes | None = b""
    while True:
        at = _end(_BLANK, text, at)
        if at == len(text):
            return
        if found := _match(_SECTION, text, at):
            section, inner = found[1].lower(), found[2]
            if inner is not None:
                inner = compiled(rb"(?s)\\(.)").sub(rb"\1", inner)
            elif b"." in section:  # `[remote.origin]` was once `[remote "origin"]`
                section, _, inner = section.partition(b".")
            dot = b".." if inner == b"" else b"."  # `[core ""]` is not `[core]`
            at = found.end()
            continue
        found = _match(_NAME, text, at)
        if not found:
            raise BadLine(text.count(b"\n", 0, at) + 1)
        at = found.end()
        value = None
        if text[at : at + 1] == b"=":
            value, at = _value(text, at + 1)
        elif at < len(text) and text[at] != 0x0A:
            raise BadLine(text.count(b"\n", 0, at) + 1)
        yield section + dot + found[1].lower(), inner or b"", value


def _match(pattern: bytes, text: bytes, at: int) -> re.Match[bytes] | None:
    return compiled(pattern).match(text, at)


def _end(pattern: bytes, text: bytes, at: int) -> int:
    found = _match(pattern, text, at)
    return found.end() if found else at


def _value(text: bytes, at: int) -> tuple[bytes, int]:
    """The value that begins at ``text[at]``, and where it ends."""
    kept = bytearray()
    solid = 0  # what is not to be trimmed, being quoted or no blank
    quoted = False
    while at < len(text):
        byte = text[at]
        if byte == 0x0A:
            if quoted:
                raise BadLine(text.count(b"\n", 0, at) + 1)
            break
        if byte in b"#;" and not quoted:
            at = text.find(b"\n", at)
            at = len(text) if at < 0 else at
            break
        at += 1
        if byte == 0x22:
            quoted = not quoted
            solid = len(kept)
        elif byte == 0x5C:
            escaped = text[at] if at < len(text) else 0x0A
            at += 1
            if escaped == 0x0A:
                continue
            if escaped not in _ESCAPES:
                raise BadLine(text.count(b"\n", 0, at) + 1)
            kept += _ESCAPES[escaped]
            solid = len(kept)
        elif quoted:
            end = _end(_QUOTED_PLAIN, text, at - 1)
            kept += text[at - 1 : end]
            solid, at = len(kept), end
        else:
            end = _end(_PLAIN, text, at - 1)
            run = text[at - 1 : end]
            run = run if kept else run.lstrip(b" \t\r")
            kept += run
            bare = run.rstrip(b" \t\r")
            if bare:
                solid = len(kept) - len(run) + len(bare)
            at = end
    if quoted:
        raise BadLine(text.count(b"\n", 0, at) + 1)
    return bytes(kept[:solid]), at


class Reader:
    """Reads files of settings, those that they include too, and remembers which."""

    def __init__(
        self,
        environ: Mapping[bytes, bytes],
        repo: Repository | None,
        place: bytes,
        hearer: Hearer,
    ) -> None:
        """``place`` is the directory that a relative path in ``environ`` is taken from."""
        self.files: list[bytes] = []
        self.found: list[Item] = []
        self.asked_for_branch = False
        self.sha256 = False
        self.work_tree: bytes | None = None
        self._environ = environ
        self._repo = repo
        self._place = place
        self._hearer = hearer
        self._urls: list[bytes] | None = None
        self._full = False
        self._compared = 0

    def file(self, path: bytes, depth: int = 0, gently: bool = False) -> None:
        """Take in what stands in ``path``, if it is there; ``gently``, if one may read it."""
        path = os.path.join(self._place, path)
        self.files.append(path)
        for name, inner, value in _items(path, self._hearer, gently):
            self._take(path, name, inner, value, depth)

    def take(self, name: bytes, inner: bytes, value: bytes | None) -> None:
        """Take in one setting that stands in no file."""
        self._take(b"", name, inner, value, 0)

    def _take(
        self,
        path: bytes,
        name: bytes,
        inner: bytes,
        value: bytes | None,
        depth: int,
    ) -> None:
        self.found.append((name, inner, value))
        if name == b"include.path" and not inner:
            applies = True
        elif name == b"includeif.path":
            applies = self._holds(inner, path)
        else:
            return
        if not applies or not value or depth >= DEEPEST_INCLUDE:
            return
        if len(self.files) >= MOST_FILES or len(self.found) > MOST_SETTINGS:
            if not self._full:
                from filerep.pathstream import quote

                self._full = True
                what = (
                    f"{MOST_FILES} files of git's"
                    if len(self.files) >= MOST_FILES
                    else f"{MOST_SETTINGS:,}"
                )
                self._hearer.on_note(
                    f"more than {what} settings are included;"
                    f" the next in {quote(path)} do not apply"
                )
            return
        other = expand(value, self._environ)
        if other and not other.startswith(b"/"):
            # A relative one needs a file that it is relative to.
            other = os.path.join(os.path.dirname(path), other) if path else b""
        if other:
            self.file(other, depth + 1)

    def _holds(self, condition: bytes, path: bytes) -> bool:
        """Does the condition of an `includeIf`, which stands in ``path``, hold here?"""
        if self._compared > MOST_COMPARED:
            return False
        kind, _, pattern = condition.partition(b":")
        if kind in (b"gitdir", b"gitdir/i"):
            places = self._git_directory()
            return self._is_at(places, pattern, path, kind.endswith(b"/i"))
        if kind in (b"worktree", b"worktree/i"):
            if gitversion.version(self._environ) < (2, 56):
                return False
            places = self._top()
            return self._is_at(places, pattern, path, kind.endswith(b"/i"))
        if kind == b"onbranch":
            self.asked_for_branch = True
            branch = self._repo.branch() if self._repo else None
            pattern += b"**" if pattern.endswith(b"/") else b""
            return branch is not None and self._fits(pattern, branch, path)
        if condition.startswith(b"hasconfig:remote.*.url:"):
            pattern = condition[len(b"hasconfig:remote.*.url:") :]
            return any(self._fits(pattern, url, path) for url in self._remotes())
        return False

    def _fits(
        self, pattern: bytes, text: bytes, path: bytes, fold: bool = False
    ) -> bool:
        """Does the pattern of a condition, which stands in ``path``, match ``text``?"""
        if self._compared > MOST_COMPARED:
            return False
        self._compared += (len(pattern) + EACH_COMPARED) * (len(text) + EACH_COMPARED)
        if self._compared <= MOST_COMPARED:
            return path_matches(pattern, text, fold)
        from filerep.pathstream import quote

        self._hearer.on_note(
            "the conditions of git's settings take too long to compare;"
            f" the next in {quote(path)} do not apply"
        )
        return False

    def _git_directory(self) -> list[bytes]:
        """Where it is, and by the way that the user goes there."""
        repo = self._repo
        return [os.path.realpath(repo.git_dir), repo.way_to_git_dir] if repo else []

    def _top(self) -> list[bytes]:
        """The top of the work tree, as the repository itself says, where it has one."""
        repo = self._repo
        if not repo:
            return []
        _, about, _ = self._of_itself(repo)
        if _is_bare(about):
            return []
        said = about.get(b"core.worktree") or repo.place
        return [os.path.realpath(os.path.join(repo.git_dir, said))]

    def _is_at(
        self, places: list[bytes], pattern: bytes, path: bytes, fold: bool
    ) -> bool:
        """Does the pattern of a condition, which stands in ``path``, match one of ``places``?"""
        start = b""
        if pattern.startswith((b"~", b"%(prefix)/")):
            pattern = expand(pattern, self._environ, real_home=True) or pattern
        if pattern.startswith(b"./"):
            start = os.path.dirname(os.path.realpath(path)) + b"/"
            pattern = pattern[2:]
        elif not pattern.startswith(b"/"):
            pattern = b"**/" + pattern
        pattern += b"**" if pattern.endswith(b"/") or not pattern else b""
        start = start.lower() if fold else start
        for place in places:
            head, rest = place[: len(start)], place[len(start) :]
            # What the file's own directory is called is not a pattern.
            if start == (head.lower() if fold else head):
                if self._fits(pattern, rest, path, fold):
                    return True
        return False

    def _remotes(self) -> list[bytes]:
        """The addresses of all remotes, whatever file they stand in."""
        if self._urls is None:
            self._urls = []  # while they are looked for, no such condition holds
            others = Reader(self._environ, self._repo, self._place, Hearer())
            others._urls = []
            read_all(others)
            self._urls = [
                value or b"" for name, _, value in others.found if name == b"remote.url"
            ]
        return self._urls

    def read_own(self) -> None:
        """The settings of the repository itself, and of this work tree of it."""
        repo = self._repo
        if not repo:
            return
        self.file(os.path.join(repo.common, b"config"))
        own, about, more = self._of_itself(repo)
        if more:
            self.file(more)
        if own.get(b"core.repositoryformatversion") and not _is_bare(about):
            self.work_tree = about.get(b"core.worktree")
        hashes = own.get(b"extensions.objectformat") or b""
        version = own.get(b"core.repositoryformatversion") or b"0"
        self.sha256 = hashes.lower() == b"sha256" and version != b"0"

    def _of_itself(self, repo: Repository) -> tuple[Said, Said, bytes]:
        """What its own file says, what that says of this work tree, and a file of this one's.

        None of this is taken from what the files include.
        """
        own = _said(os.path.join(repo.common, b"config"))
        # What all work trees share says of none where it is.
        about = own if repo.git_dir == repo.common else {}
        versioned = own.get(b"core.repositoryformatversion")
        if not versioned or not boolean(own.get(b"extensions.worktreeconfig", b"")):
            return own, about, b""
        more = os.path.join(repo.git_dir, b"config.worktree")
        return own, {**own, **_said(more)}, more

    def read_others(self) -> None:
        """The system's settings and the user's."""
        environ = self._environ
        if not boolean(environ.get(b"GIT_CONFIG_NOSYSTEM", b"")):
            named = environ.get(b"GIT_CONFIG_SYSTEM")
            self.file(gitversion.system_settings(environ) if named is None else named)
        named = environ.get(b"GIT_CONFIG_GLOBAL")
        if named is not None:
            self.file(named, gently=True)
            return
        # As git has it: another's home is none of the user's, as with sudo.
        if place := settings_directory(environ):
            self.file(place + b"/git/config", gently=True)
        if environ.get(b"HOME"):
            self.file(environ[b"HOME"] + b"/.gitconfig", gently=True)

    def read_command(self) -> None:
        """What the environment says: `git -c`, and GIT_CONFIG_COUNT and its like."""
        for name, value in from_environment(self._environ):
            section, _, rest = name.partition(b".")
            inner, dot, last = rest.rpartition(b".")
            name = section.lower() + b"." + (last if dot else rest).lower()
            self.take(name, inner, value)


def _said(path: bytes) -> Said:
    items = _items(path, Hearer())
    return {name: value for name, inner, value in items if not inner}


def _is_bare(about: Said) -> bool:
    return boolean(about.get(b"core.bare", b""))


def read_all(reader: Reader) -> None:
    """All that git would read, the strongest last."""
    reader.read_others()
    reader.read_own()
    reader.read_command()


_KEPT: dict[bytes, tuple[object, list[Item]]] = {}


def _items(path: bytes, hearer: Hearer, gently: bool = False) -> list[Item]:
    """What stands in ``path``, kept as long as the file is the same.

    A tree may hold hundreds of repositories, and the user's own settings are read for
    each.
    """
    try:
        about = os.stat(path)
        stamp = (about.st_dev, about.st_ino, about.st_size, about.st_ctime_ns)
        if path in _KEPT and _KEPT[path][0] == stamp:
            hearer.on_read(path, None)
            return _KEPT[path][1]
        text = read(path, largest=LARGEST_FILE) or b""
        refuse_directory(path)
    except (FileNotFoundError, NotADirectoryError, ValueError):
        _KEPT.pop(path, None)
        hearer.on_read(path, None)
        return []  # git goes on without those that are not there
    except OSError as error:
        # What it said last still holds: it may lead to rules (see lastread.py).
        if not gently or error.errno != errno.EACCES or path in _KEPT:
            hearer.on_read(path, error)
        return _KEPT[path][1] if path in _KEPT else []
    hearer.on_read(path, None)
    items: list[Item] = []
    try:
        items.extend(islice(parse(text), MOST_SETTINGS + 1))
    except BadLine as error:
        from filerep.pathstream import quote

        hearer.on_note(f"{error} in {quote(path)}; what follows there does not apply")
    _KEPT.pop(path, None)
    if len(_KEPT) > 20:
        del _KEPT[next(iter(_KEPT))]
    recent = time.time_ns() - about.st_ctime_ns < RECENT_NS
    _KEPT[path] = (None if recent else stamp, items)
    return items


def from_environment(
    environ: Mapping[bytes, bytes],
) -> Iterator[tuple[bytes, bytes | None]]:
    """Settings by `git -c`, which a git hands on, and by GIT_CONFIG_COUNT."""
    given = environ.get(b"GIT_CONFIG_PARAMETERS")
    words = compiled(_WORD).findall(given) if given else ()
    try:
        count = int(environ.get(b"GIT_CONFIG_COUNT", b"0") or b"0")
    except ValueError:
        count = 0
    for at in range(min(count, 1000)):
        name = environ.get(b"GIT_CONFIG_KEY_%d" % at)
        if name:
            yield name, environ.get(b"GIT_CONFIG_VALUE_%d" % at, b"")
    for quoted, equals, rest in words:
        name = _unquote(quoted)
        if equals:
            yield name, (_unquote(rest) if rest else None)
        else:
            name, equals, value = name.partition(b"=")
            yield name, (value if equals else None)


def _unquote(text: bytes) -> bytes:
    return b"".join(
        plain or escaped for plain, escaped in compiled(_QUOTED).findall(text)
    )


class Settings:
    """What the settings that hold in one repository, or in none, say about paths."""

    def __init__(
        self,
        repo: Repository | None,
        place: bytes,
        environ: Mapping[bytes, bytes],
        hearer: Hearer,
    ) -> None:
        usual = settings_directory(environ)
        usual = usual + b"/git/ignore" if usual else b""
        #: The user's ignore files: the one that is named, and what holds where that is missing.
        self.excludes_file, self.excludes_file_else = usual, b""
        self._usual_excludes_file = usual
        self.ignore_case = False
        self.quote_path = True
        #: May rule files be in the index alone?
        self.sparse = False
        #: Does git fetch objects when it needs them?
        self.partial = False
        reader = Reader(environ, repo, place, hearer)
        reader.read_others()
        reader.read_command()
        #: Does git refuse the repository, since it belongs to somebody else?
        self.refused = False
        if repo and not repo.is_ours(environ):
            # What it says of itself is not asked.
            safe = [
                value for name, _, value in reader.found if name == b"safe.directory"
            ]
            self.refused = not _trusted(repo.place, safe, environ)
        if repo and not self.refused:
            reader = Reader(environ, repo, place, hearer)
            read_all(reader)
        #: Where the work tree is said to be, by an absolute path; None where nothing is said.
        self.work_tree = None
        if repo and reader.work_tree:
            self.work_tree = os.path.realpath(
                os.path.join(repo.git_dir, reader.work_tree)
            )
        #: Are objects named by a longer hash than SHA-1's?
        self.sha256 = reader.sha256
        #: Every file that was looked at, there or not.
        self.files = tuple(dict.fromkeys(reader.files))
        for name, inner, value in reader.found:
            self._apply(name, inner, value, environ)
        if reader.asked_for_branch and repo:
            names = (b"HEAD", b"reftable/tables.list")
            self.files += tuple(os.path.join(repo.git_dir, name) for name in names)

    def _apply(
        self,
        name: bytes,
        inner: bytes,
        value: bytes | None,
        environ: Mapping[bytes, bytes],
    ) -> None:
        if name == b"remote.promisor":
            self.partial |= boolean(value)
        elif name in (b"remote.partialclonefilter", b"extensions.partialclone"):
            self.partial = True
        if inner:
            return
        if name == b"core.excludesfile":
            path, may_be_missing = optional(value or b"", environ)
            self.excludes_file = expand(path, environ) or b""
            usual = self._usual_excludes_file
            self.excludes_file_else = usual if may_be_missing else b""
        elif name == b"core.ignorecase":
            self.ignore_case = boolean(value)
        elif name == b"core.quotepath":
            self.quote_path = boolean(value)
        elif name == b"core.sparsecheckout":
            self.sparse = boolean(value)


def _trusted(
    top: bytes, values: list[bytes | None], environ: Mapping[bytes, bytes]
) -> bool:
    """Is ``top`` among the user's `safe.directory`? (setup.c, safe_directory_cb)"""
    safe = False
    for value in values:
        if not value:
            safe = False
        elif value == b"*":
            safe = True
        elif path := expand(optional(value, environ)[0], environ):
            if not path.startswith(b"/") and path != b".":
                continue
            whole = path.endswith(b"/*")
            path = os.path.realpath(path[:-2] if whole else path)
            inside = top.startswith(os.path.join(path, b""))
            safe = safe or top == path or (whole and inside)
    return safe
