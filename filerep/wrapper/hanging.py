"""What a connection command has started on this machine, and what of that hangs.

A shell acts on a signal, and sees the end of its input, once the program that it waits for has
ended. Where that one hangs, the shell can only be killed, and then nobody tidies up. So, before
that, whatever hangs below it is killed: the shell goes on, and does what it was asked to do.

What is at work still, such as an rm of much, is let be: that is seen from the time that it has
taken, and from how often it has waited. So is what has a session of its own, as a master of ssh's
has, which serves others too.

Over ssh, or in a container, nothing of that is to be seen here, and the shell there ends when
the program does.
"""

from __future__ import annotations

import os
import signal

from filerep.processtable import children, family


class Below:
    """The processes below one, also those that outlive it, and what they had done at the last look."""

    def __init__(self, pid: int) -> None:
        self._pid = str(pid)
        self._session = _done(self._pid)[:1]
        self._known: dict[str, tuple[str, ...]] = {}
        self.kill_hanging()

    def left(self) -> bool:
        """Does any of them live?"""
        return any(map(_done, self._known))

    def kill_hanging(self) -> None:
        """Kill what has done nothing since the last look, and waits for no other."""
        done = {pid: _done(pid) for pid in family(self._pid, *self._known)}
        done.pop(self._pid, None)
        before, self._known = self._known, {
            pid: one for pid, one in done.items() if one and one[:1] == self._session
        }
        for pid, one in self._known.items():
            if before.get(pid) == one and not any(map(_done, children(pid))):
                try:
                    os.kill(int(pid), signal.SIGKILL)
                except OSError:
                    pass  # it has ended, or is another user's


def _done(pid: str) -> tuple[str, ...]:
    """Its session, when it began, the time that it has taken, and how often it has waited.

    Nothing if it has ended.
    """
    try:
        with open(f"/proc/{pid}/stat") as file:
            words = file.read().rpartition(")")[2].split()
        with open(f"/proc/{pid}/status") as file:
            waits = [line for line in file if "ctxt_switches" in line]
    except OSError:
        return ()
    if words[0] in "ZX":
        return ()
    return (words[3], words[19], *words[11:13], *waits)
