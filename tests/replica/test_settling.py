"""When who waits is answered, with plain values for all that is asked before."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from filerep.replica.known.table import Table
from filerep.replica.options import Options, Removal, Transfer
from filerep.replica.scheduling.failures import Failures
from filerep.replica.scheduling.missing import Missing
from filerep.replica.scheduling.restless import Restless
from filerep.replica.settling import Settling


def test_who_waits_is_not_answered_before_what_was_torn_meanwhile_is_there() -> None:
    """A hunt found it: a file in pieces was linked on its way, and began anew after a while.

    It had been named before somebody came to wait, but was on nobody's list when he did.
    """
    now, looked_at, answered = [100.0], [], []
    restless = Restless(lambda: now[0], lambda path: 0.0, lambda: None)
    nothing: Any = SimpleNamespace(take=lambda: [], count=lambda: 0)
    schedule: Any = SimpleNamespace(again=looked_at.extend)
    leftovers: Any = SimpleNamespace(queue=lambda asked: False)
    reporter: Any = SimpleNamespace(
        sync=lambda failing: None, sync_point=lambda *told: answered.append(told)
    )
    on_sync: Any = SimpleNamespace(
        ready=lambda ended: False, due=False, runs=False, to_end=0
    )
    settling = Settling(
        Options(Removal(), Transfer()),
        Table(),
        schedule,
        Missing(Failures(print), nothing, restless),
        leftovers,
        reporter,
        on_sync,
    )
    settling.initial_done = True

    settling.sync_point()
    restless.torn(b"large", 100_000_000)
    settling.step(lambda: None, False)
    assert not answered
    now[0] += 0.1  # and not as long as it would rest otherwise
    assert restless.wake() == [b"large"]
    restless.sent(b"large", 100_000_000)
    settling.step(lambda: None, False)
    assert answered == [(0, 0)]
