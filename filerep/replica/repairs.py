"""What the far end could not do: what of it to doubt, to look at again, and to tell.

The receiver answers for single paths of a batch that it has put in place otherwise (see
receiver.sh), or for a batch of which nothing is in place.
"""

from __future__ import annotations

import time

from filerep.command import UNAVAILABLE, Stop
from filerep.pathstream import quote
from filerep.replica.known import entries
from filerep.replica.known.table import Table, directories_above
from filerep.replica.scheduling.failures import FULL, Failures, plainly
from filerep.replica.undo import Undo

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from filerep.farend.batch import Operation
    from filerep.replica.known.inventory import Inventory
    from filerep.replica.scheduling.inflight import Sent
    from filerep.replica.transfer.retained import Retained

_KILLED_WAIT = 2.0
_KILLED = 128  # and the signal's number, as a shell tells it
_NOT_UNPACKED = "gzip failed"  # reuse.sh


class Mender:
    """Puts the table right; ``again`` has paths looked at once more."""

    def __init__(
        self,
        undo: Undo,
        table: Table,
        inventory: Inventory,
        failures: Failures,
        say: Callable[[str], None],
        again: Callable[[Iterable[bytes]], None],
        distrust: Callable[[bytes], None],
        retained: Retained,
        on_not_unpacked: Callable[[float], None] = lambda began: None,
    ) -> None:
        """``distrust`` is told what is not there as it was thought to be; ``on_not_unpacked`` when
        a batch was sent that is compressed, which what unpacks it has failed for.
        """
        self._on_not_unpacked = on_not_unpacked
        self._undo = undo
        self._table = table
        self._inventory = inventory
        self._failures = failures
        self._say = say
        self._again = again
        self._distrust = distrust
        self._retained = retained
        self._refused: set[bytes] = set()  # directories whose modes were not changed
        self._modes_told = False  # that some cannot be

    def mend(self, sent: Sent) -> set[bytes]:
        """Act on what the far end could not do; the paths of the batch that are unapplied."""
        unapplied: set[bytes] = set()
        if sent.unapplied:
            self._retained.leave(sent.batch.released)
            unapplied = set(sent.paths)
            self._undo.doubt(sent, unapplied)
            if sent.retry is not None:
                # Else two that kill tar each time, both under way, would do so for ever.
                self._failures.put_back(sorted(unapplied), sent.retry)
            else:
                self._again(unapplied)
        numbered = sent.batch.numbered
        kept: list[bytes] = []
        modes: list[bytes] = []
        bad: dict[str, set[bytes]] = {}
        for word, identity, words in sent.trouble:
            operation, path = numbered[identity]
            if word == "kept":
                kept.append(path)
            elif word == "mode":
                modes.append(path)
            elif word == "bad":
                bad.setdefault(words, set()).add(path)
            elif word == "stale":
                unapplied.add(path)
                self._undo.may_be_there([path])  # what is beside it is as it was sent
                self._distrust(path)
                self._again([path])
            elif word == "lost":
                unapplied |= self._lost(sent, operation, path)
            elif word == "there":
                unapplied |= self._there(sent, path)
            elif word == "aside":
                # --mirror removes it
                self._inventory.distrust(path.rpartition(b"/")[0])
                self._say(
                    f"something was in the way of {quote(path)} at the far end;"
                    f" it is {quote(path + words.encode())} there now"
                )
                # --mirror is to find it: listed by this start, it was under its old name.
                value = entries.directory_entry(0, entries.LISTED)
                self._table.put_directory(path + words.encode(), value)
        for words, paths in bad.items():
            # Together, as each is answered for alone: a thousand retries take their time.
            paths |= _inside(sent.paths, paths)
            self._undo.doubt(sent, paths)
            unapplied |= paths
            if self._makes_room(words, sent):
                self._again(paths.intersection(sent.paths))
                continue
            # Once more at least: what was to make room may have been lost, or somebody has tidied
            # up. A program that was killed says nothing, which may be no fault of the path's.
            doubtful = sent.retry is None or not words and _is_early(sent)
            words = words or "one of its programs was killed"
            those = sorted(paths.intersection(sent.paths))
            self._fails(those, words, sent, doubtful, alone=True)
        return unapplied | self._keep(kept) | self._keep_modes(sent, modes)

    def _lost(self, sent: Sent, operation: Operation, path: bytes) -> set[bytes]:
        """No directory is at ``path``, or a symlink: nothing below it is what was sent.

        None of the operation was done. What it was to remove below ``path`` is gone with it.
        """
        unapplied = set(operation.paths)
        if path.startswith(sent.batch.staging + b"/"):
            # The batch that was to retain it there has failed.
            for one in operation.paths:
                self._distrust(one)
        if operation.verb != b"mod":
            unapplied |= _inside(sent.paths, unapplied)
        if operation.verb in (b"del", b"rmd", b"mod"):
            unapplied -= _inside(sent.paths, {path})
        self._undo.doubt(sent, unapplied)
        for one in unapplied:
            self._retained.distrust(one)  # that directory, too, may be lost
        known = self._undo.known_below(path)
        self._table.remove(path)
        self._inventory.doubt()
        self._again([*known, *unapplied])
        return unapplied

    def _there(self, sent: Sent, path: bytes) -> set[bytes]:
        """``path`` was thought new, but it is there: its files go into it one by one.

        An earlier batch may have put them there already, whose answer came in between: what
        goes here before it is looked at again must be removed there.
        """
        inside = _inside(sent.paths, {path})
        self._undo.doubt(sent, inside | {path})
        self._table.put_directory(path, entries.directory_entry(0, entries.UNSURE))
        self._undo.may_be_there(inside)
        self._again(inside)
        return inside

    def placed(self, entries: Iterable[tuple[bytes, bytes]]) -> None:
        """See `Undo.placed`."""
        self._undo.placed(entries)

    def restore(self, sent: Sent, gone: set[bytes]) -> list[bytes]:
        """See `Undo.restore`."""
        return self._undo.restore(sent, gone)

    def _keep(self, directories: list[bytes]) -> set[bytes]:
        """Directories that were not empty over there: those that are still ours, as something
        failed in them; else they hold what was made at the far end.

        Not if the table has it again: an earlier batch did not do what it was to remove.
        """
        ours = set()
        for path in directories:
            ours.add(path)
            if any(one.startswith(path + b"/") for one in self._failures.why):
                entry = entries.directory_entry(0, entries.OURS | entries.UNSURE)
                self._table.put_directory(path, entry)
            elif path in self._table.directories:
                self._again([path])
            elif self._undo.hides(path):
                pass  # the file that is to take its place is answered for next
            else:
                ours.discard(path)
                if path.rpartition(b"/")[0] not in directories:
                    self._say(
                        f"{quote(path)} stays at the far end: it holds files made there"
                    )
        return ours

    def _keep_modes(self, sent: Sent, directories: list[bytes]) -> set[bytes]:
        """Those whose modes are tried once more, as whatever it was may have passed.

        The second time it is said, once, and they are not held to be out of step: that is no
        file, and would never end.
        """
        anew = set(directories) - self._refused
        kept = [path for path in directories if path in self._refused]
        self._refused |= anew
        self._undo.doubt(sent, anew)
        self._again(sorted(anew))
        if kept and not self._modes_told:
            self._modes_told = True
            more = f" and {len(kept) - 1:,} more" if len(kept) > 1 else ""
            self._say(
                f"cannot change the mode of directory {quote(kept[0])}{more} at the"
                " far end, which belongs to somebody else there: such keep theirs"
            )
        return anew

    def failed(self, sent: Sent, status: int, words: str) -> None:
        """All of a batch failed: tried again in parts, until the bad ones are alone.

        ``status`` is tar's. Raises ``Stop`` if there is nothing to try again.
        """
        paths = sent.paths
        self._retained.leave(sent.batch.released)
        if sent.batch.commands and sent.batch.commands[-1] in (b":", b"tools"):
            return  # a full disk, say: it has answered, or does without
        if not paths:
            raise Stop(
                UNAVAILABLE, f"the far end failed: {plainly(words or _unsaid(status))}"
            )
        if sent.packed and words == _NOT_UNPACKED:
            self._on_not_unpacked(sent.started)
        chance = status > _KILLED or not words
        words = words or _unsaid(status)
        self._undo.doubt(sent, set(paths))
        for path in paths:
            self._distrust(path)
        if self._makes_room(words, sent):
            self._again(paths)
            return
        size = -(-len(paths) // 8)
        for at in range(0, len(paths), size):
            # Once more at least: what failed may have been tar, and none of the paths. That
            # is sure if it was killed, or what it wrote has gone, but that may happen each time.
            doubtful = len(paths) > 1 or sent.retry is None
            doubtful |= chance and _is_early(sent)
            self._fails(paths[at : at + size], words, sent, doubtful)
        self._failures.pause(time.monotonic() - sent.started)

    def _makes_room(self, words: str, sent: Sent) -> bool:
        """Was the disk full, and has given way since what is only retained there?"""
        return plainly(words) in FULL and self._retained.give_way(sent.started)

    def _fails(
        self,
        paths: list[bytes],
        words: str,
        sent: Sent,
        mixed: bool,
        alone: bool = False,
    ) -> None:
        gone = paths[0] in (*sent.batch.deletions, *sent.batch.removals)
        verb = "remove" if gone else "write"
        self._failures.add(paths, words, verb, sent.retry, mixed, alone)


def _unsaid(status: int) -> str:
    """Why tar failed with ``status``, if it has not said so."""
    if status > _KILLED:
        return f"its tar was killed by signal {status - _KILLED}"
    return f"its tar ended with {status}" if status else "it was unpacked, and is gone"


def _is_early(sent: Sent) -> bool:
    """May what kills a program over there each time be something else than these paths?"""
    return sent.retry is None or sent.retry.wait < _KILLED_WAIT


def _inside(paths: Iterable[bytes], tops: set[bytes]) -> set[bytes]:
    """Those of ``paths`` that are below one of ``tops``."""
    return {path for path in paths if not tops.isdisjoint(directories_above(path))}
