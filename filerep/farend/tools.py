"""What a far end has for making files of what it holds: the line that `tools` answers with.

Another digest tool, or another gunzip, goes in here and into `tools` in scripts/reuse.sh, which
looks for them.
"""

from __future__ import annotations

from filerep.farend.shell import script_text

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

# By the digest tool over there: what hashlib calls the same here.
_DIGESTS = {"sha1sum": "sha1", "shasum": "sha1", "md5sum": "md5"}


class Tools:
    """A digest tool, a gunzip, a perl that puts many ranges together; each may be missing."""

    def __init__(self, words: str) -> None:
        told = dict(word.partition("=")[::2] for word in words.split())
        self.words = words
        self.sum = told.get("sum", "")
        self.unzip = bool(told.get("unzip"))
        self.perl = bool(told.get("perl"))

    @property
    def digests(self) -> bool:
        return self.sum in _DIGESTS

    def digest(self) -> Any:
        """A hashlib object for what the digest tool over there does."""
        import hashlib  # loads OpenSSL, which few need

        return hashlib.new(_DIGESTS[self.sum], usedforsecurity=False)


def lesson() -> bytes:
    """What a commit has to hold before it can use any of that."""
    return script_text("reuse")
