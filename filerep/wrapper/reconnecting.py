"""Connecting, and connecting again after a loss."""

from __future__ import annotations

import time

from filerep import command
from filerep.command import Stop
from filerep.wrapper.endings import Lost
from filerep.wrapper.signals import Signalled
from filerep.wrapper.terminal.formatting import duration

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Optional

    from filerep.wrapper.events import Events
    from filerep.wrapper.session import Session
    from filerep.wrapper.signals import Signals
    from filerep.wrapper.terminal.display import Display

_FIRST_PAUSE, _LONGEST_PAUSE = 0.5, 30.0
_MOST_REASONS = 4  # a line each, while a lost connection cannot be had again


class Losses:
    """What is said of a lost connection, and how long is waited before each attempt."""

    def __init__(self, say: Callable[[str], None], begun: bool = True) -> None:
        """``begun``: it is tried again only once there has been a connection."""
        self._say = say
        self._begun = begun
        self._pause = self._since = 0.0
        self._lost = False
        self._said: set[str] = set()  # why it was lost, and cannot be had again

    def connected(self, now: float) -> None:
        if self._lost:
            took = duration((now - self._since) * 1000)
            self._say(f"connected {'again ' if self._begun else ''}after {took}")
            self._lost = False
        self._begun = True

    def lost(self, why: str, synced: bool, now: float) -> float:
        """Seconds to wait before the next attempt; ``synced`` if it was in sync before."""
        if synced:
            self._pause = 0.0
        pause = self._pause = min(max(2 * self._pause, _FIRST_PAUSE), _LONGEST_PAUSE)
        fresh, self._lost = not self._lost, True
        if fresh:
            self._since, self._said = now, set()
        if fresh and self._begun:
            words = f" ({why})" if why else ""
            self._say(f"the connection was lost{words}; connecting again")
        elif why not in self._said and len(self._said) < _MOST_REASONS:
            again = f"trying again in {pause:g} s"
            if pause < _LONGEST_PAUSE:
                again += f", later every {_LONGEST_PAUSE:g} s"
            self._say(f"{why}; {again}")
        self._said.add(why)
        return pause


def replicate(
    start: Callable[[], Session],
    retries: bool,
    display: Display,
    events: Events,
    signals: Signals,
    tell: Optional[Callable[[bool], None]] = None,
) -> int:
    """Connect, replicate, and connect again after a loss; the exit status.

    One of many also tries again what was never connected, and has to ``tell`` whether it is.
    """
    losses = Losses(display.message, begun=tell is None)
    worked = synced = again = False
    while True:
        session = start()
        try:
            try:
                far = session.connect(not worked, not synced, again)
                worked = True
                losses.connected(time.monotonic())
                if tell is not None:
                    tell(True)
                session.replicate(far)
                return session.finish()
            except Signalled:
                session.hear_last()
                raise
            finally:
                session.close()
        except Lost as error:
            signals.wait_for_ours()
            if not (retries and (worked or tell)):
                raise Stop(command.UNAVAILABLE, str(error)) from None
            if tell is not None and not worked:
                tell(False)
            session.lost(str(error))
            now_synced = session.reports.synced
            synced = synced or now_synced
            pause = losses.lost(str(error), now_synced, time.monotonic())
            again = True
            events.tell("lost", why=str(error), again_in=pause)
        signals.wait(pause)
