"""What a far end can do, as it told in the words that PROTOCOL.md lists."""

from __future__ import annotations

import os


class Far:
    """What it told of itself: which tar and lister, whether it is empty."""

    def __init__(self, words: str) -> None:
        told = dict(word.partition("=")[::2] for word in words.split())
        self.stage = os.fsencode(told["stage"])
        self.tar = told.get("tar", "other")
        self.list = told.get("list", "none")
        self.mark = os.fsencode(told.get("mark", ""))  # see Output.again
        self.empty = told.get("empty") == "1"
        self.mover = told.get("mover") == "perl"
        self.way = _seconds(told.get("way", ""))
        self.counted = self.tar != "gnu"
        self.precise = self.tar in ("gnu", "bsd")


def _seconds(text: str) -> float:
    """How long the way there and back takes, at most; 0 if that is not known."""
    try:
        return float(text)
    except ValueError:
        return 0.0
