"""When the --on-sync command runs: once for a burst, not within a git, with names."""

from __future__ import annotations

from filerep.replica.onsync import OnSync


class Moment:
    """A clock that stands still, and a git that locks or does not."""

    def __init__(self) -> None:
        self.now = 100.0
        self.locked = False
        self.on_sync = OnSync(True, lambda: self.now, lambda: self.locked)

    def ready_after(self, seconds: float) -> bool:
        self.now += seconds
        return self.on_sync.ready()


def test_it_runs_once_changes_have_paused() -> None:
    it = Moment()
    assert it.on_sync.next() is None
    for number in range(5):
        it.on_sync.changed([b"%d" % number])
        assert not it.ready_after(0.1)
    assert it.ready_after(0.15)
    assert it.on_sync.begin() == b"0\x001\x002\x003\x004\x00"
    assert it.on_sync.next() is None


def test_changes_that_never_pause_are_not_waited_for_long() -> None:
    it = Moment()
    for _ in range(19):
        it.on_sync.changed([b"a"])
        assert not it.ready_after(0.1)
    it.on_sync.changed([b"a"])
    assert it.ready_after(0.15)


def test_after_the_first_copy_it_runs_at_once_on_the_whole_tree() -> None:
    it = Moment()
    it.on_sync.copied()
    it.on_sync.changed([b"a"])
    assert it.ready_after(0.2)
    assert it.on_sync.begin() == b"./\0"


def test_more_names_than_anybody_reads_are_the_whole_tree() -> None:
    it = Moment()
    it.on_sync.changed(b"%d" % number for number in range(60_000))
    it.on_sync.changed([b"a"])
    assert it.on_sync.begin() == b"./\0"


def test_it_waits_for_git_and_for_what_git_did_last() -> None:
    it = Moment()
    it.locked = True
    it.on_sync.changed([b"a"])
    for _ in range(10):
        assert not it.ready_after(0.5)
        it.on_sync.changed([b"b"])
    it.locked = False
    assert not it.ready_after(0.3)
    assert it.on_sync.next() is not None
    assert it.ready_after(0.25)


def test_a_lock_that_was_left_behind_is_not_waited_for() -> None:
    it = Moment()
    it.locked = True
    it.on_sync.changed([b"a"])
    assert not it.ready_after(9)
    it.now += 2
    it.on_sync.ready()
    assert it.ready_after(0.25)


def test_changes_during_a_run_lead_to_one_more() -> None:
    it = Moment()
    it.on_sync.changed([b"a"])
    it.on_sync.begin()
    it.on_sync.changed([b"b"])
    assert not it.ready_after(60) and it.on_sync.to_end == 2
    assert it.on_sync.ended() == 60_000
    assert it.on_sync.ready() and it.on_sync.to_end == 1
    assert it.on_sync.begin() == b"b\0"


def test_without_a_command_nothing_is_due() -> None:
    on_sync = OnSync(False, lambda: 0.0, lambda: False)
    on_sync.changed([b"a"])
    on_sync.copied()
    assert not on_sync.due and on_sync.next() is None and not on_sync.ready(True)
