"""What a far end can do, as it told in the words that PROTOCOL.md lists."""

from __future__ import annotations

import os

_LONGEST_WAY = 60.0  # seconds
_LONGEST_NAME = 20

# What the words of the opening may say that something depends on; the first is what is taken for
# anything else.
_KNOWN = {
    "tar": ("other", "gnu", "bsd", "none"),
    "list": ("none", "find", "stat", "bsd"),
    "full": ("", "1"),
}


def heard(words: str) -> dict[str, str]:
    """What ``words``, name=value each, say; what nobody knows is taken for missing."""
    found = dict(word.partition("=")[::2] for word in words.split())
    for name, values in _KNOWN.items():
        if found.get(name) not in values:
            found[name] = values[0]
    if not is_program(found.get("shell", "")):
        found["shell"] = "sh"
    return found


def is_program(name: str) -> bool:
    """May it be shown as what a program over there is called?"""
    return name.isascii() and name.isalnum() and len(name) <= _LONGEST_NAME


class Far:
    """What it told of itself: which tar and lister, whether it is empty."""

    def __init__(self, words: str) -> None:
        found = heard(words)
        self.staging = os.fsencode(found["staging"])
        self.tar = found["tar"]
        self.list = found["list"]
        self.marker = os.fsencode(found.get("marker", ""))  # see Output.again
        self.empty = found.get("empty") == "1"
        self.mover = found.get("mover") == "perl"
        self.hands_group_down = found.get("setgid") == "1"
        self.way = _seconds(found.get("way", ""))
        # How much of each large file a cut run has left there, by its name there.
        self.parts = _sizes(found.get("parts", ""))
        self.counted = self.tar != "gnu"
        self._file_system(found)
        self.precise = self.tar in ("gnu", "bsd")

    def _file_system(self, found: dict[str, str]) -> None:
        self.keeps_modes = found.get("modes") != "0"
        self.has_links = found.get("links") != "0"
        # What is one name there: `case`, `form` (of Unicode, composed or not), or both.
        self.folds = _folding(found.get("folds", ""))
        # And where something is mounted in it that takes others for one.
        self._within = found.get("within", "")
        self.volumes: dict[bytes, frozenset[str]] = {}
        #: Where such a volume keeps no permission bits.
        self.without_modes: list[bytes] = []
        for one in filter(None, self._within.split("//")):
            kinds, _, name = one.partition(":")
            path = os.fsencode(name)
            if _folding(kinds):
                self.volumes[path] = _folding(kinds)
            if "nomodes" in kinds.split(","):
                self.without_modes.append(path)

    @property
    def tried(self) -> bytes:
        """What was found out by writing there, where it is not as usual."""
        words = ["folds=" + ",".join(sorted(self.folds))] if self.folds else []
        words += [] if self.keeps_modes else ["modes=0"]
        words += [] if self.has_links else ["links=0"]
        words += [f"within={self._within}"] if self._within else []
        return os.fsencode(" ".join(words))

    def recall(self, tried: bytes) -> None:
        """Take it from an earlier run, as this one writes nothing."""
        self._file_system(heard(os.fsdecode(tried)))

    def fold(self, directory: bytes, name: bytes) -> bytes:
        """The same for all names in ``directory`` that are one over there."""
        folds = self.folds
        for volume, kinds in self.volumes.items():
            if directory == volume or directory.startswith(volume + b"/"):
                folds = kinds
        if not folds:
            return name
        import unicodedata  # by few

        text = name.decode("utf-8", "surrogateescape")
        if "form" in folds:
            text = unicodedata.normalize("NFD", text)
        if "case" in folds:
            text = "".join(c.upper() if len(c.upper()) == 1 else c for c in text)
        return text.encode("utf-8", "surrogateescape")


def _folding(kinds: str) -> frozenset[str]:
    return frozenset(kinds.split(",")) & {"case", "form"}


def _seconds(text: str) -> float:
    """How long the way there and back takes, at most; 0 if that is not known."""
    try:
        seconds = float(text)
    except ValueError:
        return 0.0
    return seconds if 0 <= seconds < _LONGEST_WAY else 0.0


def _sizes(text: str) -> dict[str, int]:
    """Numbers by name, of ``NAME:NUMBER,...``; what is not so is left out."""
    pairs = [one.partition(":") for one in text.split(",")]
    return {
        name: int(size)
        for name, _, size in pairs
        if size.isdecimal() and len(size) < 19
    }
