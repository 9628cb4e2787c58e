"""What waits while the rules are edited is judged once more before it is sent.

Who sees, while a first copy goes over a slow connection, that something is in it that should
not be, ignores that. fr-watch goes by the new rules from then on; but fr-walk goes on by those
that it has read, and what both have named before waits here. So from an edit of the rules on
(fr-watch names a .gitignore; of others edited.py tells), until nothing waits any more, fr-pack
asks for each path whether it counts.

The rules may be read amid another edit, which fr-watch has not seen: then it does not name what was
left out here by mistake. But it names the file that was edited. So what was left out is kept in
mind for some seconds, and judged again with that, and once nothing else waits.

RACE: what is in a batch by then goes, which is about what the connection takes in a second.
"""

from __future__ import annotations

import time

from filerep.command import Stop
from filerep.replica.scheduling.edited import PATIENCE, Edited

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Optional

    from filerep.rules.sieve import Sieve
    from filerep.source import Source

_RULE_FILE = b".gitignore"  # in whatever case, as core.ignoreCase has it
_MINDED = 5.0  # seconds


def is_rule_file(path: bytes) -> bool:
    return path.rpartition(b"/")[2].lower() == _RULE_FILE


class Judging:
    """Asks the rules as they are, once they were edited."""

    def __init__(
        self,
        source: Source,
        load: Optional[Callable[[], Sieve]],
        patience: float = PATIENCE,
        began: Optional[tuple[float, int]] = None,
    ) -> None:
        """``load`` reads the rules; it may raise OSError or ``Stop``."""
        self._source = source
        self._load = load
        self._sieve: Optional[Sieve] = None
        self._looks = Edited(source, self._inputs, patience, began)
        self._edited = False
        self._left_out: dict[bytes, None] = {}
        self._read_at = 0.0

    @property
    def minds(self) -> bool:
        """Would it matter if the rules were edited once more?"""
        return bool(self._left_out)

    def edited(self) -> list[bytes]:
        """The rules were, while something waits; what was left out and counts after all."""
        self._forget_rules()
        self._edited = self._load is not None
        return self._again()

    def end(self) -> list[bytes]:
        """Nothing waits but what this returns, which was left out and counts after all."""
        self._looks.end()
        again: list[bytes] = []
        if self._edited:
            self._forget_rules()
            again = self._again()
        elif self._left_out and time.monotonic() - self._read_at > _MINDED:
            self._left_out = {}
        if not again:
            self._forget_rules()
            self._edited = False
        return again

    def _forget_rules(self) -> None:
        if self._sieve is not None:
            self._sieve.close()
        self._sieve = None

    def _again(self) -> list[bytes]:
        paths, self._left_out = list(self._left_out), {}
        return self.sift(paths) if paths else []

    def sift(self, paths: list[bytes]) -> list[bytes]:
        """Those of ``paths`` that count, or have gone; all if nothing was edited.

        They stand in one directory, or were sifted before.
        """
        if self._load is None:
            return paths
        if self._looks.found(paths[0].rpartition(b"/")[0]):
            self._forget_rules()
            self._edited = True
        if not self._edited:
            return paths
        try:
            self._sieve = self._sieve or self._load()
            counting = set(self._sieve.sift(paths, False))
        except (OSError, Stop):
            return paths
        self._read_at = time.monotonic()
        gone = self._source.is_gone
        sifted = [path for path in paths if path in counting or gone(path)]
        if len(sifted) < len(paths):
            self._left_out.update(dict.fromkeys(set(paths).difference(sifted)))
        return sifted

    def rested(self, paths: list[bytes]) -> list[bytes]:
        """Those of ``paths``, which waited for a time of their own, that are still to be looked at.

        The rules may have been edited meanwhile, when nothing else waited.
        """
        if not paths or self._load is None:
            return paths
        self._forget_rules()
        before, self._edited = self._edited, True
        counting = self.sift(paths)
        self._edited = before
        return counting

    def _inputs(self, directory: bytes) -> Iterable[bytes]:
        """What the rules of ``directory`` come from beside what is in SRC; raises as ``load``."""
        if self._load is None:
            return ()
        self._sieve = self._sieve or self._load()
        return self._sieve.inputs(directory)
