"""The first words with the far end, without one."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, Optional

import pytest

from filerep.command import Stop
from filerep.wrapper.bootstrap import Bootstrap
from filerep.wrapper.endings import Lost
from filerep.wrapper.job import Job

ARGUMENTS: dict[str, Any] = {
    "DEST_PARENT_DIR": "/dest",
    "CONNECTION_COMMAND": ["sh"],
    "--keepalive": "15",
    "--connect-timeout": "60",
}


class Words(dict[str, Any]):
    """Arguments, of which those that are not given are false."""

    def __missing__(self, name: str) -> None:
        return None


class Far:
    """What the other side of a bootstrap sees and says."""

    def __init__(self, source: Path) -> None:
        self.read: list[bytes] = []
        job = Job(Words(ARGUMENTS, SRC_DIR=str(source)))
        self._bootstrap = Bootstrap(job, self.read.append)
        self._bootstrap.ask(True)
        found = re.search(rb"set -- '(\w+)'", self.read[0])
        assert found
        self.nonce = found[1]

    def say(self, line: bytes) -> Optional[str]:
        return self._bootstrap.hear(b"filerep-" + self.nonce + b" " + line + b"\n")

    def babble(self, data: bytes) -> Optional[str]:
        return self._bootstrap.hear(data)


HERE = b"here ids= boot= there= tar=gnu list=find full= shell=dash"


def test_what_a_login_prints_is_passed_over(tmp_path: Path) -> None:
    far = Far(tmp_path)
    assert far.babble(b"Welcome!\nfilerep-") is None
    assert far.say(HERE) is None
    assert b"mv -f" in far.read[1]  # the receiver
    told = far.say(b"ready empty=1 mover=")
    assert told is not None and told.startswith(
        "tar=gnu list=find shell=dash empty=1 mover= stage="
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


def test_a_far_end_without_tar_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Lost, match="there is no tar"):
        Far(tmp_path).say(HERE.replace(b"gnu", b"none"))


def test_an_echo_is_no_answer(tmp_path: Path) -> None:
    far = Far(tmp_path)
    with pytest.raises(Lost, match="sends back what it is sent"):
        far.babble(far.read[0])


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
