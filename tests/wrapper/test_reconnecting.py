"""What is said of a lost connection, and how long is waited: without a connection."""

from __future__ import annotations

from filerep.wrapper.reconnecting import Losses


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
