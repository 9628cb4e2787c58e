"""What comes back from the far end: lines and listings, as PROTOCOL.md has them.

It can be slow, silent, endless or wrong. So all that is kept of it has a bound, and what makes
no sense is the end of the connection, with a reason.
"""

from __future__ import annotations

import errno
import os
import re
import select
import time
from functools import lru_cache

from filerep.command import UNAVAILABLE, Stop
from filerep.farend import listing
from filerep.pathstream import quote

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Optional

    from filerep.farend.abilities import Far

# Bounds, in bytes. A batch has some thousand paths, each of which is answered for in a line or
# two; a listing is as long as what is there.
_MOST_LINE = 1 << 16
_MOST_LINES = 16 << 20
_MOST_LISTING = 64 << 20
_LISTED_BYTES = 512  # more for each path that is known here
_MOST_ASIDE = 1000  # lines
_MOST_WORDS = 1000  # of one answer
_SHOWN = 60
_LAST_WORDS = 0.5  # seconds
LAST_WORDS = ("error", "taken")
NONSENSE = ", which makes no sense"

# By the word that such a line begins with, what follows it: a number, or another, then text.
_NUMBER, _TEXT, _NONE = b" ([0-9]{1,9})", b"(?: (.*))?", b"()"
_FORMS = {
    word.encode(): parts
    for words, parts in (
        ("bye again taken", (_NONE, _NONE, _NONE)),
        ("ok hook modes", (_NUMBER, _NONE, _NONE)),
        ("tools", (_NUMBER, _NONE, _TEXT)),
        ("error", (_NONE, _NONE, _TEXT)),
        ("failed torn", (_NUMBER, _NUMBER, _TEXT)),
        ("bad lost there kept mode aside stale", (_NUMBER, _NUMBER, _TEXT)),
    )
    for word in words.split()
}


class Refused(Stop):
    """What another connection would not change."""


class Silent(Stop):
    """Nothing was heard of the far end for too long."""

    def __init__(self, seconds: float) -> None:
        message = f"no sign of life from the far end for {seconds:.3g} s"
        super().__init__(UNAVAILABLE, message)


@lru_cache(maxsize=None)
def _form(word: bytes) -> re.Pattern[bytes]:
    """Compiled when it is first met: most runs hear two of them."""
    return re.compile(word + b"".join(_FORMS[word]), re.DOTALL)


class Answer:
    """A line that was understood.

    ``number`` is that of the batch it is about (or a hook's status), ``other`` that of what it
    is about in the batch (or its unpacking's status).
    """

    __slots__ = ("word", "number", "other", "text")

    def __init__(self, word: bytes, number: bytes, other: bytes, text: bytes) -> None:
        self.word = word.decode()
        self.number = int(number or b"0")
        self.other = int(other or b"0")
        self.text = _words(text or b"")


def _words(text: bytes) -> str:
    """``text`` as it may be shown: not endless, and nothing that a terminal acts on."""
    words = text[:_MOST_WORDS].decode("utf-8", "replace")
    if words.isprintable():
        return words
    return "".join(one if one.isprintable() else "?" for one in words)


def understood(line: bytes) -> Optional[Answer]:
    """What ``line`` says, None if it is no answer; raises ``Stop`` if it makes no sense."""
    word = line.partition(b" ")[0]
    form = _form(word) if word in _FORMS else None
    if form is None:
        return None
    found = form.fullmatch(line)
    if found is None:
        raise nonsense(f"answers {quote(line[:_SHOWN])}")
    return Answer(word, *found.groups())


def ended(answer: Answer) -> Stop:
    """Why the receiver ends, by one of its ``LAST_WORDS``."""
    if answer.word == "error":
        return Stop(UNAVAILABLE, answer.text)
    return Refused(
        UNAVAILABLE,
        "another run of the same source, from another machine or by another user, has taken"
        " over the destination; to have both copies, give one a name of its own with --as",
    )


def nonsense(what: str) -> Stop:
    """The far end does ``what``, which no receiver of ours would do."""
    return Stop(UNAVAILABLE, f"the far end {what}{NONSENSE}")


class Answers:
    """The receiver's answers: lines, and now and then a listing.

    The end of an --on-sync command is told by a line of its own process, which may fall
    anywhere into a listing. Such a line is written at once, so it is always whole, and
    nobody else knows the number in it: it is cut out wherever it turns up.
    """

    def __init__(self, fd: int, far: Far) -> None:
        self.fd = fd
        self.ended = False
        self._form = far.list
        self._hook = b"filerep-" + far.staging.rpartition(b"-")[2] + b" "
        self._aside: list[bytes] = []
        self._data = bytearray()
        self._listing = False
        self._searched = 0
        self._most_listing = 0  # bytes of a listing that was asked for; 0: none was

    def expect_listing(self, known: int) -> None:
        """A listing was asked for, of directories in which so many paths are known here."""
        self._most_listing = _MOST_LISTING + _LISTED_BYTES * known

    @property
    def expects_listing(self) -> bool:
        return bool(self._most_listing)

    def fill(self) -> None:
        """Read what is there; to be called when ``fd`` is readable. Raises ``Stop``."""
        try:
            chunk = os.read(self.fd, 1 << 20)
        except OSError as error:
            if error.errno == errno.EINTR:
                return
            chunk = b""
        start = max(0, len(self._data) - len(self._hook) - 12)
        self._data += chunk
        self.ended = self.ended or not chunk
        while (at := self._data.find(self._hook, start)) >= 0:
            end = self._data.find(b"\n", at)
            if end < 0:
                break
            self._aside.append(bytes(self._data[at + len(self._hook) : end]))
            del self._data[at : end + 1]
            self._searched = min(self._searched, at)
            start = at
        self._bound()

    def _bound(self) -> None:
        """Raise ``Stop`` if there is more than any far end has to say."""
        size = len(self._data)
        if len(self._aside) > _MOST_ASIDE:
            raise nonsense("tells of --on-sync without end")
        if size <= _MOST_LINES:
            return
        if not self._most_listing:
            raise nonsense("answers without end")
        if size > self._most_listing + _MOST_LINES:
            raise Stop(
                UNAVAILABLE,
                f"the far end lists more than {self._most_listing >> 20} MB of what it has;"
                " leave out (--exclude) the directory with so many files of its own",
            )

    def wait(self, seconds: float) -> None:
        """Read what comes within ``seconds``, 0 for any time; raises ``Stop`` if nothing does."""
        poll = select.poll()
        poll.register(self.fd, select.POLLIN)
        if not poll.poll(seconds * 1000 or None):
            raise Silent(seconds)
        self.fill()

    def told(self, number: int) -> bool:
        """Is the answer to batch ``number`` among what is there, and not taken yet?

        Not to be asked while a listing is under way, which may hold anything.
        """
        poll = select.poll()
        poll.register(self.fd, select.POLLIN)
        if poll.poll(0):
            self.fill()
        lines = b"\n%s" % self._data
        return b"\nok %d\n" % number in lines or b"\nfailed %d " % number in lines

    def refusal(self) -> Optional[Stop]:
        """What the far end, which reads no more, comes to say of its end. Raises ``Stop``."""
        poll = select.poll()
        poll.register(self.fd, select.POLLIN)
        give_up = time.monotonic() + _LAST_WORDS
        while not self.ended and poll.poll(max(0, give_up - time.monotonic()) * 1000):
            self.fill()
        for what, line in self.take():
            answer = understood(line) if what == "line" else None
            if answer is not None and answer.word in LAST_WORDS:
                return ended(answer)
        return None

    def take(self) -> Iterator[tuple[str, bytes]]:
        """("line", text) or ("listing", data) for each answer that is there whole.

        Raises ``Stop``.
        """
        while self._aside:
            yield "line", self._aside.pop(0)
        while True:
            if self._listing:
                at = listing.find_end(self._form, self._data, self._searched)
                if at < 0:
                    self._searched = len(self._data)
                    return
                self._listing, self._most_listing = False, 0
                yield "listing", bytes(memoryview(self._data)[:at])
                del self._data[: at + len(listing.ENDS[self._form])]
                continue
            at = self._data.find(b"\n")
            if at < 0 and len(self._data) > _MOST_LINE:
                raise nonsense("sends a line without end")
            if at < 0:
                return
            line = bytes(self._data[:at])
            del self._data[: at + 1]
            if line != b"listing":
                yield "line", line
            elif not self._most_listing:
                raise nonsense("lists what nobody asked for")
            else:
                self._listing, self._searched = True, 0
