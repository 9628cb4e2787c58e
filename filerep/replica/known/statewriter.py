"""What this run hands on to the next one: the state file, as long as it can be written."""

from __future__ import annotations

import os

from filerep.replica.known import entries

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Optional

    from filerep.replica.known.statefile import State
    from filerep.replica.known.staterows import Remembered

FORGOTTEN = (
    "what is removed here while it is not connected will not be removed at the far end"
)


class StateWriter:
    """The state file; without one, if there is none or it cannot be written, nothing."""

    def __init__(
        self,
        state: Optional[State],
        confirmed: dict[bytes, bytes],
        say: Callable[[str], None],
    ) -> None:
        """``confirmed``, digests of listings by directory, is written and emptied each time."""
        self._state = state
        self._confirmed = confirmed
        self._say = say

    def __bool__(self) -> bool:
        return self._state is not None

    def recall(self) -> Optional[Remembered]:
        """What is remembered by now, None without a state file."""
        try:
            return None if self._state is None else self._state.recall()
        except OSError:
            return None

    def fell_silent(self, paths: Sequence[bytes]) -> None:
        """See `State`."""
        try:
            if self._state is not None:
                self._state.fell_silent(paths)
        except OSError:
            pass  # it is tried once more, then

    def found_slow(self, slow: bool) -> None:
        """See `State`."""
        try:
            if self._state is not None:
                self._state.found_slow(slow)
        except OSError:
            pass  # it is found out anew, then

    def write(
        self,
        arrived: Sequence[tuple[bytes, bytes]] = (),
        removed: Sequence[bytes] = (),
        intended: Sequence[bytes] = (),
        grown: Sequence[bytes] = (),
    ) -> None:
        """Remember that ``intended`` are about to be sent, that ``arrived`` are over there,
        of which ``grown`` are new, and ``removed`` are not."""
        if self._state is None:
            return
        try:
            self._state.intend(intended)
            bare = [(path, entries.signed(value, b"")) for path, value in arrived]
            self._state.append(bare, list(removed), grown)
            self._state.confirm(self._confirmed)
            self._confirmed.clear()
        except OSError as error:
            self._state = None
            self._say(
                f"cannot write the state file, {os.strerror(error.errno or 0)}: {FORGOTTEN}"
            )
