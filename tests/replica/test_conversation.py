"""fr-pack's conversation with a far end whose answers the test gives, late or never."""

from __future__ import annotations

import array
import fcntl
import io
import os
import re
import select
import shutil
import signal
import subprocess
import sys
import tarfile
import termios
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from programs import ROOT, environment, read_until, wait_for

from filerep.replica.known import entries, statefile, staterows

FAR = "staging=.filerep-x tar=gnu list=find empty=1"


class Pack:
    """fr-pack --wire, with everything it talks to in the test's hands."""

    def __init__(self, place: Path, *options: str) -> None:
        self.source = place / "source"
        self.source.mkdir()
        self.state = place / "state"
        answers, self.answers = os.pipe()
        urgent, self.urgent = os.pipe()
        self.reports, reports = os.pipe()
        far, told = os.pipe()
        os.write(told, FAR.encode() + b"\n")
        os.close(told)
        words = [str(ROOT / "bin/fr-pack"), "--wire", str(far)]
        words += ["--state", str(self.state)]
        words += ["--answers-fd", str(answers), "--urgent-fd", str(urgent)]
        words += ["--report-fd", str(reports), *options]
        self.process = subprocess.Popen(
            [sys.executable, *words, str(self.source)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            pass_fds=(far, answers, urgent, reports),
            env=environment(),
        )
        os.close(far)
        os.close(answers)
        os.close(urgent)
        os.close(reports)

    def walk(self, *paths: bytes) -> None:
        """All that fr-walk names."""
        assert self.process.stdin
        self.process.stdin.write(b"".join(path + b"\0" for path in paths))
        self.process.stdin.close()

    def name(self, *paths: bytes) -> None:
        os.write(self.urgent, b"".join(path + b"\0" for path in paths))

    def batch(self) -> bytes:
        """The next batch, to its last line; its number stands there."""
        assert self.process.stdout
        got = b""
        while not re.search(rb"\0batch \d+ \d+\n$", got):
            got += read_until(self.process.stdout.fileno(), b"\n")
        return got

    def large_batch(self) -> bytes:
        """The next batch, of many bytes."""
        assert self.process.stdout
        got = bytearray()
        while not re.search(rb"\0batch \d+ \d+\n$", got[-40:]):
            got += os.read(self.process.stdout.fileno(), 1 << 20)
        return bytes(got)

    def answer(self, line: bytes) -> None:
        os.write(self.answers, line + b"\n")

    def reads(self) -> None:
        """Wait until it has read all answers."""
        unread = array.array("i", [1])

        def all_read() -> bool:
            fcntl.ioctl(self.answers, termios.FIONREAD, unread)
            return not unread[0]

        wait_for(all_read)

    def sync_point(self) -> int:
        """How many paths fail when the mark is answered."""
        told = b""
        while not (
            found := re.search(rb'"sync_point", "failing": (\d+)[^}]*}\n', told)
        ):
            told += read_until(self.reports, b"\n")
        return int(found[1])

    def cut(self) -> dict[bytes, bytes]:
        """Kill it; what the state file remembers."""
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()
        rows = staterows.parse(self.state.read_bytes()).rows
        return {
            os.path.join(directory, name): value
            for directory, row in rows.items()
            for name, value in row.items()
        }

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        assert self.process.stdout
        self.process.stdout.close()
        os.close(self.answers)
        os.close(self.urgent)
        os.close(self.reports)


@pytest.fixture
def walked(tmp_path: Path) -> Iterator[Pack]:
    """Before fr-walk has named anything."""
    program = Pack(tmp_path)
    yield program
    program.close()


@pytest.fixture
def pack(walked: Pack) -> Pack:
    walked.walk()
    return walked


def test_what_is_under_way_is_remembered_before_it_is_answered(pack: Pack) -> None:
    (pack.source / "d").mkdir()
    (pack.source / "d/f").write_text("new")
    pack.name(b"d/f")
    assert b"d/f" in pack.batch()
    kept = pack.cut()
    assert kept.keys() == {b"d/", b"d/f"}
    assert entries.marks(kept[b"d/f"]) & entries.UNSURE


def test_an_answer_does_not_forget_what_is_sent_again(pack: Pack) -> None:
    """Sent, removed, sent again; the answer to the removal comes after that."""
    path = pack.source / "f"
    path.write_text("one")
    pack.name(b"f")
    pack.batch()
    pack.answer(b"ok 1")
    path.unlink()
    pack.name(b"f")
    assert b"del " in pack.batch()
    path.write_text("two")
    pack.name(b"f")
    pack.batch()
    pack.answer(b"ok 2")
    # One more, sent only when the answer was taken, so that it has been.
    (pack.source / "g").write_text("g")
    pack.name(b"g")
    pack.batch()
    assert b"f" in pack.cut()


def test_a_path_that_failed_is_tried_again_alone(pack: Pack) -> None:
    (pack.source / "f").write_text("f")
    (pack.source / "g").write_text("g")
    pack.name(b"f", b"g")
    pack.batch()
    pack.answer(b"bad 1 1 Permission denied")
    pack.answer(b"ok 1")
    second = pack.batch()
    assert (b"0/f\0" in second) != (b"0/g\0" in second)
    pack.answer(b"ok 2")
    assert {b"f", b"g"} == pack.cut().keys()


def test_what_fails_is_tried_again_though_it_was_asked_whether_it_has_gone(
    pack: Pack,
) -> None:
    """Found by a hunt for faults: the question stood, and kept the file from being sent."""
    (pack.source / "d").mkdir()
    for name in ("d/f", "d/g", "h"):
        (pack.source / name).write_text(name)
    pack.name(b"d/f", b"d/g")
    pack.batch()
    pack.name(b"d/f/", b"h")
    pack.batch()
    pack.answer(b"bad 1 1 Input/output error")
    pack.answer(b"ok 1")
    pack.answer(b"ok 2")
    got = pack.batch()
    assert b"0/d/f\0" in got and b"0/d/g\0" in got


def test_a_mode_that_was_in_a_batch_that_failed_is_sent_again(pack: Pack) -> None:
    """Found by a hunt that kills: the directory kept its old mode for good."""
    (pack.source / "d").mkdir(0o755)
    (pack.source / "d/f").write_text("f")
    pack.name(b"d/f")
    pack.batch()
    pack.answer(b"ok 1")
    (pack.source / "d").chmod(0o700)
    pack.name(b"d")
    assert b"mod 700" in pack.batch()
    pack.answer(b"failed 2 137 Killed")
    assert b"mod 700" in pack.batch()


@pytest.mark.parametrize("names", ["f", "fg"])
def test_a_mark_is_answered_once_what_failed_together_was_tried_alone(
    names: str, pack: Pack
) -> None:
    """A tar that was killed, say: nothing is known to be wrong with any of the files.

    Found by a hunt that kills: `--wait` ended with 69, and a moment later all was well.
    """
    for name in names:
        (pack.source / name).write_text(name)
    pack.name(*map(str.encode, names), b".")
    pack.batch()
    pack.answer(b"failed 1 137 Killed")
    got = pack.batch()
    pack.answer(b"ok 2")
    if len(names) > 1:
        if b"\0batch 3 20\n" not in got:
            pack.batch()
        pack.answer(b"ok 3")
    assert pack.sync_point() == 0


def test_a_mark_waits_for_what_failed_for_want_of_room(pack: Pack) -> None:
    """Found by a hunt: a directory was not emptied, as another one in the operation was lost."""
    for name in ("d/f", "e/x", "e/y"):
        (pack.source / name).parent.mkdir(exist_ok=True)
        (pack.source / name).write_text(name)
    pack.name(b"d/f", b"e/x", b"e/y")
    pack.batch()
    pack.answer(b"ok 1")
    (pack.source / "e/x").unlink()
    (pack.source / "d/f").unlink()
    (pack.source / "d").rmdir()
    (pack.source / "d").write_text("d")
    pack.name(b"d/f", b"e/x", b"d", b".")
    second = pack.batch()
    assert b"at 0 './d' './e' && del './d/f' './e/x'" in second
    assert b"at 4 . && rmd './d'" in second
    for answer in (b"lost 2 1", b"bad 2 7 Directory not empty", b"ok 2"):
        pack.answer(answer)
    number, again = 2, b""
    while b"0/d\0" not in again:
        again = pack.batch()
        number += 1
        pack.answer(b"ok %d" % number)
    assert pack.sync_point() == 0


@pytest.mark.parametrize("often", [2, 4])
def test_a_tar_that_is_killed_is_not_the_paths_fault_unless_it_always_is(
    often: int, pack: Pack
) -> None:
    """Found by a hunt that kills: one was at work, the other waited for the next batch."""
    (pack.source / "f").write_text("f")
    pack.name(b"f", b".")
    for number in range(often):
        pack.batch()
        pack.answer(b"failed %d 137 Killed" % (number + 1))
    if often == 2:
        pack.batch()
        pack.answer(b"ok 3")
    assert pack.sync_point() == (often > 2)


def test_what_a_later_batch_removes_is_not_doubted_by_an_earlier_one(
    pack: Pack,
) -> None:
    """Found by a hunt: it was removed twice, and its directory with a file's name was, too."""
    for name in "af":
        (pack.source / name).write_text(name)
        pack.name(name.encode())
        pack.batch()
    pack.answer(b"bad 1 1 Refused")
    pack.answer(b"ok 1")
    (pack.source / "f").unlink()
    pack.name(b"f")
    assert b"del './f'" in pack.batch()
    pack.answer(b"ok 2")
    pack.answer(b"ok 3")
    assert b"del " not in pack.batch()


def test_a_directory_kept_by_what_an_earlier_batch_did_not_remove_goes_later(
    pack: Pack,
) -> None:
    """Found by a hunt: it was taken for one that holds files made over there."""
    for name in ("d/f", "d/x/f", "e/y/f"):
        (pack.source / name).parent.mkdir(parents=True, exist_ok=True)
        (pack.source / name).write_text("f")
    pack.name(b"d/f", b"d/x/f", b"e/y/f")
    pack.batch()
    pack.answer(b"ok 1")
    shutil.rmtree(pack.source / "d/x")
    shutil.rmtree(pack.source / "e")
    pack.name(b"d/x/", b"e/")
    assert b"at 6 './d' './e' && rmd './e/y' './e' './d/x'" in pack.batch()
    shutil.rmtree(pack.source / "d")
    pack.name(b"d/")
    assert b"at 2 . && rmd './d'" in pack.batch()
    pack.answer(b"lost 2 7")  # e had gone over there, so d/x was not tried
    pack.answer(b"ok 2")
    pack.answer(b"kept 3 3")  # for the sake of d/x
    pack.answer(b"ok 3")
    while b" './d'\n" not in pack.batch():
        pass


def test_what_was_tried_one_by_one_comes_together_once_one_goes_through(
    pack: Pack,
) -> None:
    names = [b"f%d" % number for number in range(8)]
    for name in names:
        (pack.source / name.decode()).write_text("f")
    pack.name(*names)
    pack.batch()
    pack.answer(b"failed 1 2 No space left on device")
    arrived: list[bytes] = []
    last = 1
    while len(arrived) < len(names):
        for last, inside in enumerate(pack.batch().split(b"\0batch ")[:-1], last + 1):
            arrived += re.findall(rb"\d/(f\d)\0", inside)
            pack.answer(b"ok %d" % last)
    assert sorted(arrived) == names
    assert last < 1 + len(names)


def unpacked(archive: bytes, name: str) -> bytes:
    with tarfile.open(fileobj=io.BytesIO(archive)) as members:
        member = members.extractfile(name)
        assert member
        return member.read()


def test_a_save_goes_before_what_is_left_of_a_first_copy(walked: Pack) -> None:
    """However fast the far end answers."""
    names = [b"f%d" % count for count in range(200)]
    for name in names:
        (walked.source / os.fsdecode(name)).write_bytes(bytes(1 << 19))
    (walked.source / "saved").write_text("saved")
    walked.walk(*names)
    walked.large_batch()
    walked.name(b"saved")
    after = []
    for number in range(1, 4):
        walked.answer(b"ok %d" % number)
        walked.reads()  # the answer, while the next one goes out
        after.append(b"0/saved\0" in walked.large_batch())
    assert any(after)


def large_file(pack: Pack, name: str) -> bytes:
    content = os.urandom(24 << 20)
    (pack.source / name).write_bytes(content)
    pack.name(name.encode())
    return content


@pytest.fixture
def carrier() -> Iterator[tuple[int, int]]:
    """A pipe that holds pages which are on their way."""
    ends = os.pipe()
    yield ends
    for fd in ends:
        os.close(fd)


@pytest.fixture
def whole(tmp_path: Path) -> Iterator[Pack]:
    """Large files do not go in pieces."""
    program = Pack(tmp_path, "--whole-file", "--no-compress")
    program.walk()
    # The first copy is done: before, names are held back where nothing is answered for long.
    program.name(b".")
    assert program.sync_point() == 0
    yield program
    program.close()


lends_pages = pytest.mark.skipif(
    not (hasattr(os, "splice") and hasattr(os, "memfd_create")),
    reason="where these are missing all is copied",
)


@lends_pages
def test_what_was_sent_does_not_change_before_it_is_answered(
    whole: Pack, carrier: tuple[int, int]
) -> None:
    """Who carries it may pass on pages as they are, and be slow: what is lent stays lent."""
    pack = whole
    assert pack.process.stdout
    one = large_file(pack, "one")
    held = os.splice(pack.process.stdout.fileno(), carrier[1], 1 << 16)
    rest = pack.large_batch()
    two = large_file(pack, "two")
    second = pack.large_batch()
    assert unpacked(os.read(carrier[0], held) + rest, "0/one") == one
    assert unpacked(second, "0/two") == two
    for number in (1, 2):
        pack.answer(b"ok %d" % number)
    three = large_file(pack, "three")
    assert unpacked(pack.large_batch(), "0/three") == three
    maps = Path(f"/proc/{pack.process.pid}/maps")
    assert "memfd:fr-pack" in maps.read_text()
    pack.answer(b"ok 3")
    pack.name(b".")
    assert pack.sync_point() == 0
    assert "memfd:fr-pack" not in maps.read_text(), "kept by who has nothing to send"


@lends_pages
def test_what_is_answered_while_more_is_sent_is_lent_again_once(
    whole: Pack, carrier: tuple[int, int]
) -> None:
    pack = whole
    assert pack.process.stdout
    stdout = pack.process.stdout.fileno()
    large_file(pack, "one")
    pack.large_batch()
    two = large_file(pack, "two")
    begun = os.read(stdout, 1 << 16)
    pack.answer(b"ok 1")  # it is read while there is no room in the pipe
    while len(begun) < 8 << 20:
        begun += os.read(stdout, 1 << 20)
    held = os.splice(stdout, carrier[1], 1 << 16)
    rest = pack.large_batch()
    three = large_file(pack, "three")
    assert unpacked(pack.large_batch(), "0/three") == three
    assert unpacked(begun + os.read(carrier[0], held) + rest, "0/two") == two


def test_what_is_answered_while_more_is_sent_has_taken_no_longer(whole: Pack) -> None:
    """Over a slow link it was counted until all of the next batch had gone."""
    (whole.source / "one").write_text("1")
    whole.name(b"one")
    whole.batch()
    large_file(whole, "two")
    assert whole.process.stdout
    os.read(whole.process.stdout.fileno(), 1 << 16)
    whole.answer(b"ok 1")
    whole.reads()
    answered = time.monotonic()
    select.select([], [], [], 1)  # as long as the link takes no more
    slow = time.monotonic() - answered
    whole.large_batch()
    told = b""
    while not (found := re.search(rb'"is": "batch".*"ms": ([0-9.]+)', told)):
        told += read_until(whole.reports, b"\n")
    assert float(found[1]) < 1000 * slow


def number(batch: bytes, verb: bytes) -> int:
    """By which the answers name the first directory of the operation with ``verb``."""
    found = re.search(rb"at (\d+) [^&]*&& " + verb, batch)
    assert found, batch
    return int(found[1])


def removed(pack: Pack, path: bytes) -> bool:
    """Is ``path`` removed in one of the batches that come before a mark is answered?"""
    pack.name(b".")
    assert pack.process.stdout
    out, told = pack.process.stdout.fileno(), b""
    while b'"sync_point"' not in told:
        ready = select.select([out, pack.reports], [], [], 10)[0]
        assert ready
        if out not in ready:
            told += os.read(pack.reports, 1 << 16)
            continue
        text = pack.batch()
        if re.search(rb"&& del [^\n]*" + path, text):
            return True
        pack.answer(b"ok %d" % int(re.findall(rb"batch (\d+) \d+\n", text)[-1]))
    assert b'"sync_point", "failing": 0' in told
    return False


def sends_a_nested_file(pack: Pack) -> None:
    """`d/e/a`, in batch 1, which is answered."""
    (pack.source / "d/e").mkdir(parents=True)
    (pack.source / "d/e/a").write_text("a")
    pack.name(b"d/e/a")
    pack.batch()
    pack.answer(b"ok 1")


def test_what_a_later_batch_has_put_is_not_forgotten_with_a_lost_directory(
    pack: Pack,
) -> None:
    """`d` was removed over there; one batch finds that out when a later one has made it anew."""
    sends_a_nested_file(pack)
    (pack.source / "d").chmod(0o700)
    pack.name(b"d")
    second = pack.batch()
    (pack.source / "d/e").chmod(0o700)
    pack.name(b"d/e")
    third = pack.batch()
    pack.answer(b"lost 2 %d\nok 2" % number(second, b"mod"))
    assert b"d/e/a" in pack.batch()
    shutil.rmtree(pack.source / "d")
    pack.answer(b"lost 3 %d\nok 3\nok 4" % number(third, b"mod"))
    pack.name(b"d/e/a", b"d/e/", b"d/", b"d")
    assert removed(pack, b"d/e/a")


def test_what_is_forgotten_all_the_same_is_found_and_removed(pack: Pack) -> None:
    """As if there were another way to forget it: the far end lies, and no event comes.

    What was made there meanwhile under another name that was ours is not touched.
    """
    (pack.source / "d").mkdir()
    sent = {}
    for name in ("a", "b", "c"):
        (pack.source / "d" / name).write_text(name)
        sent[name] = os.stat(pack.source / "d" / name)
    pack.name(b"d/a", b"d/b", b"d/c")
    pack.batch()
    pack.answer(b"ok 1")
    (pack.source / "d").chmod(0o700)
    pack.name(b"d")
    second = pack.batch()
    (pack.source / "d/a").unlink()
    (pack.source / "d/b").unlink()
    pack.answer(b"lost 2 %d\nok 2" % number(second, b"mod"))
    third = pack.batch()
    assert b"d/c" in third or b"\0d/" in third
    pack.answer(b"ok 3")
    pack.name(b".")
    asks = pack.batch()
    assert b"echo listing" in asks and b"'./d/.'" in asks
    rows = [b"\0\0./.\0d 700 4096 1.0 d\0\0", b"\0\0./d/.\0"]
    for name in ("a", "c"):
        time_ = b"%d.%09d" % divmod(sent[name].st_mtime_ns, 10**9)
        rows.append(b"f 644 1 %s %s\0\0" % (time_, name.encode()))
    rows.append(b"f 644 9 7.5 b\0\0")  # somebody's own
    pack.answer(b"listing\n" + b"".join(rows) + b"\0\0end\0" + b"ok 4")
    found = pack.batch()
    assert re.search(rb"&& del [^\n]*d/a", found) and b"d/b" not in found
    pack.answer(b"ok 5")
    assert pack.sync_point() == 0


def test_what_an_earlier_batch_has_put_is_not_undone_with_a_directory_that_was_there(
    pack: Pack,
) -> None:
    """`d/e` was thought new by two batches, as another had found it gone."""
    sends_a_nested_file(pack)
    (pack.source / "d/e").chmod(0o700)
    pack.name(b"d/e")
    second = pack.batch()
    (pack.source / "d/e/b").write_text("b")
    pack.name(b"d/e/b")
    third = pack.batch()
    pack.answer(b"lost 2 %d\nok 2" % (number(second, b"mod") + 1))
    pack.batch()
    pack.answer(b"lost 3 %d\nok 3" % (number(third, b"put") + 1))
    fifth = pack.batch()
    (pack.source / "d/e/a").unlink()
    pack.answer(b"ok 4\nthere 5 %d\nok 5" % (number(fifth, b"put") + 1))
    pack.name(b"d/e/a")
    assert removed(pack, b"d/e/a")
