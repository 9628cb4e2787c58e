"""What fr-pack reports, in words: a burst of batches, the first copy, a dry run."""

from __future__ import annotations

from filerep.farend.abilities import heard, is_program
from filerep.pathstream import gathered
from filerep.wrapper.terminal.formatting import (
    bare,
    duration,
    ending,
    files,
    size,
)
from filerep.wrapping import columns

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_MOST_NAMES = 3
MOST_PLACES = 16


class Side:
    """What was sent in a burst, or what was removed."""

    def __init__(self, verb: str) -> None:
        self.verb = verb
        self.count = 0
        self.names: dict[str, None] = {}  # all that there were, while `whole`
        self.whole = True
        self.places: dict[str, int] = {}  # directories that hold all of it

    def add(self, names: list[str], count: int, places: dict[str, int]) -> None:
        self.count += count
        self.names.update(dict.fromkeys(names))
        if len(names) < count or len(self.names) > _MOST_NAMES:
            self.whole = False
        for place in places:
            self.places[place] = self.places.get(place, 0) + places[place]
        self.places = gathered(self.places, MOST_PLACES)

    def named(self) -> str:
        """Each name, or nothing if there are too many."""
        return f"{self.verb} {', '.join(self.names)}" if self.whole else ""

    def counted(self, most: int) -> str:
        """How many files, and in which directories, as far as those are ``most``."""
        if self.whole and len(self.names) == 1:
            return self.named()
        text = f"{self.verb} {files(len(self.names) if self.whole else self.count)}"
        places = gathered(self.places, most)
        if not most or list(places) in ([""], []):
            return text
        largest = sorted(places, key=lambda one: (-places[one], one))[:most]
        names = [bare(f"'{one or '.'}/'") for one in largest]
        text = f"{text} in {', '.join(names)}"
        more = len(places) - len(largest)
        return f"{text} and {more} more" if more else text


class Burst:
    """Batches that come close together, told in one line."""

    def __init__(self) -> None:
        self.sent = Side("sent")
        self.removed = Side("removed")
        self.bytes = 0
        self.ms = 0.0
        self.ways: dict[str, int] = {}  # by which so many files came

    def __bool__(self) -> bool:
        return bool(self.sent.count or self.removed.count)

    def add(self, what: dict[str, Any], ms: float) -> None:
        """Take in a batch; ``ms`` is how long all has taken by now."""
        self.sent.add(what["sent"], what["files"], what["sent_in"])
        self.removed.add(what["removed"], what["deletions"], what["removed_in"])
        if self.sent.whole and self.removed.whole:
            # A file written by way of another's name: what counts is what is there now.
            for name in what["sent"]:
                self.removed.names.pop(name, None)
            for name in what["removed"]:
                self.sent.names.pop(name, None)
        for way, count in what["ways"].items():
            self.ways[way] = self.ways.get(way, 0) + count
        self.bytes += what["bytes"]
        self.ms = ms

    def line(self, width: int = 0, how: bool = False) -> str:
        """All that fits ``width`` columns, 0 for as many as it takes; may be empty.

        With ``how``, by which ways the files came stands behind it.
        """
        ways = self._ways() if how and (self.sent.names or not self.sent.whole) else ""
        if not ways:
            return self._line(width)
        text = self._line(max(1, width - columns(ways)) if width else 0)
        return text and text + ways

    def _ways(self) -> str:
        if len(self.ways) == 1:
            return f" ({next(iter(self.ways))})"
        shown = [f"{self.ways[way]:,} {way}" for way in sorted(self.ways)]
        return f" ({', '.join(shown)})" if shown else ""

    def _line(self, width: int) -> str:
        sides = [
            side for side in (self.sent, self.removed) if side.names or not side.whole
        ]
        sides = [side for side in sides if side.count]
        text = self._joined([side.named() or side.counted(3) for side in sides])
        for most in (3, 2, 1, 0):
            if not width or columns(text) <= width:
                return text
            text = self._joined([side.counted(most) for side in sides])
        return self._cut(sides, columns(text) - width, width)

    def _cut(self, sides: list[Side], excess: int, width: int) -> str:
        """With the ends only of names that stand alone; of a single one nothing else, if need be."""
        alone = [side for side in sides if side.whole and len(side.names) == 1]
        if excess <= 0 or not alone:
            return self._joined([side.counted(0) for side in sides])
        each = -(-excess // len(alone))
        parts = []
        for side in sides:
            text = side.counted(0)
            if side in alone:
                (name,) = side.names
                text = f"{side.verb} {ending(name, columns(name) - each)}"
            parts.append(text)
        text = self._joined(parts)
        if (
            columns(text)
            <= columns(self._joined([s.counted(0) for s in sides])) - excess
        ):
            return text
        if len(sides) == 1:
            (name,), verb = sides[0].names, sides[0].verb
            text = f"{verb} {ending(name, width - columns(verb) - 1)}"
            if columns(text) <= width:
                return text
        return self._joined([f"{side.verb} {files(side.count)}" for side in sides])

    def _joined(self, parts: list[str]) -> str:
        if not parts:
            return ""
        if self.sent.names or not self.sent.whole:
            parts = [f"{parts[0]}, {size(self.bytes)}", *parts[1:]]
        return f"{'; '.join(parts)}, {duration(self.ms)}"


def first_line(what: dict[str, Any], watching: bool, where: str = "") -> str:
    """What the first copy came to, and where it is."""
    if what["rehearsed"]:
        if not (what["files"] or what["removals"]):
            return "nothing to do: the destination is the same"
        count = f"{files(what['files'])} to send, {size(what['bytes'])}"
        return f"nothing was changed: {count}; {what['removals']:,} to remove"
    to = f" -> {bare(where)}" if where else ""
    if not what["compared"]:
        did = "watching" if watching else "nothing to do"
        if what["files"]:
            went = (
                f"{files(what['files'])} that changed meanwhile, {size(what['bytes'])}"
            )
            to += f"; sent {went}"
        return f"{did}{to}; what is at the far end was not compared"
    if not what["files"]:
        did = "nothing to send"
    elif what["files"] >= what["known"]:
        did = size(what["bytes"])
    else:
        did = f"{what['files']:,} of them sent, {size(what['bytes'])}"
    if what["removals"]:
        did += f", {what['removals']:,} removed"
    did += " in " if what["files"] or what["removals"] else ", "
    did += duration(what["ms"])
    there = files(what["known"])
    if what["failing"]:
        state = f"not in sync, {files(what['failing'])} could not be written"
        there += " is there" if what["known"] == 1 else " are there"
    else:
        state = "in sync"
    return f"{state}: {there}, {did}{to}" + ("; watching" if watching else "")


_TARS = {"gnu": "GNU tar", "bsd": "bsdtar"}
_LISTERS = {
    "find": "find",
    "stat": "find and stat",
    "bsd": "find and stat of BSD",
    "none": "nothing",
}


def far_line(ready: str) -> str:
    """What there is at the far end and what is done with it, from its ready line."""
    told = heard(ready)
    tar = _TARS.get(told["tar"], "a plain tar")
    lister = _LISTERS[told["list"]]
    mover = "perl" if told.get("mover") == "perl" else "mv"
    text = f"the far end has {told['shell']} and {tar}; listings come from {lister}"
    text += f", renames from {mover}"
    return f"{text}; the destination is empty" if told.get("empty") == "1" else text


def tools_line(what: dict[str, Any]) -> str:
    """What is done where whole files would take long, and with what."""
    told = dict(word.partition("=")[::2] for word in what["has"].split())
    tools = [told[name] for name in ("sum", "unzip") if is_program(told.get(name, ""))]
    has = " and ".join(tools) or "nothing"
    does = ["what it holds is not sent again"] * what["reuses"]
    does += ["what is sent is compressed"] * what["packs"]
    said = f"to send less, the far end has {has}"
    return f"{said}: where that is faster, {', and '.join(does)}" if does else said


def ignored_line(count: int) -> str:
    """What is there from earlier runs, is here too, and does not count any more."""
    if count == 1:
        said = "1 file that was sent before and is ignored by now stays there"
    else:
        said = f"{files(count)} that were sent before and are ignored by now stay there"
    return f"{said}; --clean-out-first removes what is there, and copies anew"


def left_words(names: list[str], count: int, gone: bool) -> str:
    """Which of what was changed has not arrived; ``gone`` if all was removed here."""
    named = ", ".join(names)
    if count > len(names):
        named += f" and {count - len(names):,} more"
    elif len(names) > 1:
        named = " and ".join([", ".join(names[:-1]), names[-1]])
    done = "been removed there" if gone else "arrived"
    return f"{named} {'has' if count == 1 else 'have'} not {done}"


def would_line(what: dict[str, Any]) -> str:
    """What a dry run would do with a path."""
    text = f"would {what['do']} {what['path']}"
    if what["do"] == "remove":
        return text
    return f"{text}, {size(what['bytes'])}, {'new' if what['new'] else 'changed'}"
