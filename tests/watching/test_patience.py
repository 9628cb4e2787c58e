"""How long names wait for rule files that are being written."""

from __future__ import annotations

from filerep.watching.patience import Patience


class At:
    """A clock that is set."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_each_has_its_while_though_another_was_waited_for_before() -> None:
    at = At()
    patience = Patience(at)
    for at.now, inputs, over in [
        (0.0, [b"a"], False),
        (0.45, [b"a", b"b"], False),
        (0.55, [b"b"], False),
        (0.9, [b"b"], False),
        (0.95, [b"b"], True),
        (1.5, [], True),
        (1.6, [b"b"], False),
    ]:
        assert patience.over(inputs) == over, at.now


def test_one_that_never_rests_holds_nothing_up_for_long() -> None:
    at = At()
    patience = Patience(at)
    waited = []
    for tick in range(100):
        at.now = tick / 20
        waited.append(not patience.over([b"a"]))
    assert waited == [True] * 10 + [False] * 90


def test_nor_do_many_one_after_the_other() -> None:
    at = At()
    patience = Patience(at)
    over = []
    for tick in range(100):
        at.now = tick / 20
        over.append(patience.over([b"%d" % (tick // 4), b"%d" % (tick // 4 + 1)]))
    assert 40 in [at for at, one in enumerate(over) if one]
    assert not any(over[:40])
