"""What is said of a lost connection, and how long is waited: without a connection."""

from __future__ import annotations

import io
import os
import signal
import subprocess
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from filerep.wrapper.endings import Lost
from filerep.wrapper.events import Events
from filerep.wrapper.processes import Processes
from filerep.wrapper.reconnecting import Losses, replicate
from filerep.wrapper.session import Session
from filerep.wrapper.signals import Signalled, Signals
from filerep.wrapper.stages import Stages
from filerep.wrapper.terminal.display import Display
from filerep.wrapper.waiting import Waiters


def test_a_loss_is_told_with_its_reason_and_when_it_is_over() -> None:
    said: list[str] = []
    losses = Losses(said.append)
    losses.connected(0.0)
    losses.lost("no sign of life", True, 10.0)
    losses.connected(12.5)
    assert said == [
        "the connection was lost (no sign of life); connecting again",
        "connected again after 2.5 s",
    ]


def test_the_same_reason_is_told_once_until_it_is_connected() -> None:
    said: list[str] = []
    losses = Losses(said.append)
    for _ in range(3):
        losses.lost("refused", False, 0.0)
    losses.lost("no route", False, 0.0)
    assert [line for line in said if "trying" in line] == [
        "no route; trying again in 4 s, later every 30 s"
    ]
    losses.connected(1.0)
    losses.lost("refused", False, 2.0)
    assert said[-1] == "the connection was lost (refused); connecting again"


def test_pauses_grow_to_half_a_minute_and_begin_anew_once_in_sync() -> None:
    losses = Losses(lambda text: None)
    pauses = [losses.lost("", False, 0.0) for _ in range(8)]
    assert pauses == [0.5, 1, 2, 4, 8, 16, 30, 30]
    assert losses.lost("", True, 0.0) == 0.5


@pytest.fixture
def signals() -> Iterator[Signals]:
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGCHLD)
    before = {number: signal.getsignal(number) for number in numbers}
    yield Signals(Display(None, "x"), Events(-1))
    signal.set_wakeup_fd(-1)
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize("first", [signal.SIGTERM, signal.SIGHUP])
def test_a_signal_to_all_is_not_told_as_the_end_of_another(
    first: int, signals: Signals
) -> None:
    """As `timeout` sends it: the others may have it first."""
    said: list[str] = []

    class Ended(Display):
        def message(self, text: str) -> None:
            said.append(text)

    class Killed:
        def connect(self, *_: bool) -> str:
            return ""

        def replicate(self, far: str) -> None:
            late = f"sleep 0.01; kill -{int(first)} {os.getpid()}"
            subprocess.Popen(["sh", "-c", late])
            raise Lost("fr-watch was killed by signal 15")

        def close(self) -> None:
            pass

    session: Any = Killed
    with pytest.raises(Signalled):
        replicate(session, True, Ended(None, "x"), Events(-1), signals)
    assert not said


def test_between_two_attempts_nothing_is_said_to_be_under_way(signals: Signals) -> None:
    display = Display(io.StringIO(), "x")
    job: Any = SimpleNamespace(watches=True)
    start: Any = None
    session = Session(job, display, Events(-1), Waiters(), signals, start)
    display.connecting(["ssh", "host"])
    assert display.due() is not None
    session.lost("refused")
    assert display.due() is None


def test_the_end_may_be_asked_for_before_anything_was_started(signals: Signals) -> None:
    """As for one far end of many, whose parent was killed: it told of a bug of its own."""
    display = Display(io.StringIO(), "x")

    def start(processes: Processes, again: bool) -> Stages:
        raise Signalled(signal.SIGTERM)

    job: Any = SimpleNamespace(watches=True)
    session = Session(job, display, Events(-1), Waiters(), signals, start)
    with pytest.raises(Signalled):
        replicate(lambda: session, True, display, Events(-1), signals)
