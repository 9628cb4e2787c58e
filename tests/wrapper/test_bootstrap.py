"""The first words with the far end, without one."""

from __future__ import annotations

import random
import re
from pathlib import Path
from typing import Any, Optional

import pytest
from fuzz import each_seed, hunts
from memory import at_most

from filerep import filesystem
from filerep.command import Stop
from filerep.farend import abilities
from filerep.wrapper.bootstrap import Bootstrap
from filerep.wrapper.endings import Lost
from filerep.wrapper.job import Job

ARGUMENTS: dict[str, Any] = {
    "DEST_PARENT_DIR": "/dest",
    "CONNECTION_COMMAND": ["sh"],
    "--keepalive": "15",
    "--connect-timeout": "60",
    "--hold": "5",
    "--exclude": [],
    "--include": [],
    "--exclude-from": [],
    "--include-from": [],
}


class Words(dict[str, Any]):
    """Arguments, of which those that are not given are false."""

    def __missing__(self, name: str) -> None:
        return None


class Far:
    """What the other side of a bootstrap sees and says."""

    def __init__(self, source: Path, **options: Any) -> None:
        self.read: list[bytes] = []
        job = Job(Words(ARGUMENTS, SRC_DIR=str(source), **options))
        self._bootstrap = Bootstrap(job, self.read.append)
        self._bootstrap.ask(True)
        found = re.search(rb"set -- '(\w+)'", self.read[0])
        assert found
        self.nonce = found[1]

    def say(self, line: bytes) -> Optional[str]:
        return self._bootstrap.hear(b"filerep-" + self.nonce + b" " + line + b"\n")

    def babble(self, data: bytes) -> Optional[str]:
        return self._bootstrap.hear(data)

    def close(self) -> None:
        self._bootstrap.close()


HERE = b"here ids= boot= there= tar=gnu list=find full= shell=dash"


def test_what_a_login_prints_is_passed_over(tmp_path: Path) -> None:
    far = Far(tmp_path)
    assert far.babble(b"Welcome!\nfilerep-") is None
    assert far.say(HERE) is None
    assert b"mv -f" in far.read[1]  # the receiver
    told = far.say(b"ready empty=1 mover=")
    assert told is not None and told.startswith(
        "tar=gnu list=find shell=dash empty=1 mover= staging="
    )


def test_here_and_ready_may_come_in_pieces(tmp_path: Path) -> None:
    far = Far(tmp_path)
    lines = b"".join(
        b"filerep-" + far.nonce + b" " + line + b"\n"
        for line in (HERE, b"ready empty=0")
    )
    told = [far.babble(lines[i : i + 1]) for i in range(len(lines))]
    assert [one is not None for one in told] == [False] * (len(lines) - 1) + [True]


def test_an_error_ends_it_in_the_far_ends_words(tmp_path: Path) -> None:
    with pytest.raises(Lost, match="the far end refused: mkdir: .*: Permission denied"):
        Far(tmp_path).say(b"error mkdir: cannot create '/dest': Permission denied")


def test_the_same_error_is_the_same_reason_each_time(tmp_path: Path) -> None:
    """So it is told once, however often it is tried again."""
    far = Far(tmp_path)
    said = b"error mkdir: './.filerep-1a-%s': Read-only file system" % far.nonce
    with pytest.raises(Lost, match=r"'/dest/\w+/\.filerep-1a': Read-only"):
        far.say(said)


def test_a_far_end_without_tar_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Lost, match="there is no tar"):
        Far(tmp_path).say(HERE.replace(b"gnu", b"none"))


def test_an_echo_is_no_answer(tmp_path: Path) -> None:
    far = Far(tmp_path)
    with pytest.raises(Lost, match="sends back what it is sent"):
        far.babble(far.read[0])


def test_a_terminal_that_sends_nothing_back_is_told(tmp_path: Path) -> None:
    with pytest.raises(Lost, match="has a terminal, which alters data .*without -t"):
        Far(tmp_path).say(b"working\r")


def test_the_source_itself_is_refused_as_the_destination(tmp_path: Path) -> None:
    status = tmp_path.stat()
    boot = Path("/proc/sys/kernel/random/boot_id").read_bytes().strip()
    same = b"1:2,%d:%d," % (status.st_dev, status.st_ino)
    here = (
        b"here ids="
        + same
        + b" boot="
        + boot
        + b" there=1 tar=gnu list=find full= shell=dash"
    )
    with pytest.raises(Stop, match="the destination is SRC_DIR itself"):
        Far(tmp_path).say(here)


def odd_line(dice: random.Random) -> bytes:
    """One of those that the opening knows, right or nearly right, or none."""
    value = dice.choice(
        [
            b"",
            b"1",
            b"9" * 5000,
            b"\xff\xfe",
            b"gnu",
            b"find",
            b"/",
            b"1:2,",
            b"../..",
            b"\0",
        ]
    )
    name = dice.choice(
        [b"ids", b"boot", b"there", b"tar", b"list", b"full", b"way", b"x"]
    )
    word = dice.choice(
        [b"here", b"ready", b"working", b"real", b"mount", b"at", b"other"]
    )
    rest = dice.choice(
        [b"", b" ", value, name + b"=" + value, HERE[5:] + b" " + name + b"=" + value]
    )
    return (
        word + b" " + rest
        if dice.random() < 0.9
        else dice.randbytes(60).replace(b"\n", b"")
    )


@hunts
def test_nonsense_before_it_is_ready_is_refused_in_words(tmp_path: Path) -> None:
    def one(dice: random.Random) -> None:
        far = Far(tmp_path)
        try:
            for _ in range(dice.randrange(1, 8)):
                told = far.say(odd_line(dice))
                if told is not None:
                    abilities.Far(told)
                    break
        except (Lost, Stop) as error:
            assert str(error).isprintable()

    each_seed(1000, one)


@pytest.mark.parametrize(
    "cleans, lines",
    [
        (False, [b"sentinel"]),
        (False, [HERE, b"sentinel"]),
        (True, [b"sentinel"]),
        (True, [HERE, b"sentinel", b"sentinel"]),
        (True, [HERE, HERE]),
    ],
)
def test_what_has_us_write_is_believed_once_and_when_it_is_due(
    cleans: bool, lines: list[bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The file that `sentinel` has us make in a source that is a share was left there."""
    monkeypatch.setattr(filesystem, "shared_type", lambda directory: "nfs")
    far = Far(tmp_path, **{"--clean-out-first": cleans})
    for line in lines[:-1]:
        far.say(line)
    written = len(far.read)
    with pytest.raises(Lost, match="unasked, which makes no sense"):
        far.say(lines[-1])
    far.close()
    assert not list(tmp_path.iterdir())
    assert len(far.read) == written


@pytest.mark.parametrize(
    "line", [b"mount " + b"/x" * 300, b"working", b"at " + b"/" * 900]
)
def test_words_without_end_are_not_kept(line: bytes, tmp_path: Path) -> None:
    far = Far(tmp_path)
    with at_most(64 << 20), pytest.raises(Lost, match="without end"):
        for _ in range(1 << 20):
            far.say(line)


def test_a_banner_without_end_is_not_kept(tmp_path: Path) -> None:
    far = Far(tmp_path)
    with at_most(16 << 20), pytest.raises(Lost, match="without end"):
        for _ in range(1 << 12):
            far.babble(b"Welcome! " * 1000)
