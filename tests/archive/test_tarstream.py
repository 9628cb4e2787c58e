"""tar members: each tar unpacks just what was meant, and tarfile reads the same."""

from __future__ import annotations

import io
import os
import subprocess
import tarfile
from pathlib import Path

import farends
import pytest
from hypothesis import given
from hypothesis import strategies as st

from filerep.archive import tarstream

NAMES = st.binary(min_size=1, max_size=300).map(
    lambda raw: b"n" + raw.replace(b"\0", b"0").replace(b"/", b"-")
)
TIMES = st.one_of(
    st.integers(-(2**40), 2**62), st.integers(0, 2**33).map(lambda s: s * 10**9)
)


def archive(*members: bytes) -> bytes:
    data = b"".join(members)
    return data + tarstream.end(len(data))


def read(data: bytes) -> list[tarfile.TarInfo]:
    file = tarfile.open(fileobj=io.BytesIO(data), errors="surrogateescape")
    return file.getmembers()


@given(NAMES, st.integers(0, 0o777), st.binary(max_size=1500), TIMES)
def test_a_file_is_read_back_as_it_was_meant(
    name: bytes, mode: int, data: bytes, mtime: int
) -> None:
    head = tarstream.member(name, tarstream.FILE, mode, len(data), mtime)
    (found,) = read(archive(head, data, tarstream.padding(len(data))))
    assert os.fsencode(found.name) == name
    assert (found.mode, found.size, found.type) == (mode, len(data), b"0")
    assert (found.uid, found.gid, found.uname, found.gname) == (0, 0, "", "")
    assert abs(found.mtime - mtime / 10**9) < 1e-5 * max(1, abs(mtime / 10**9) / 1e9)


@given(NAMES, NAMES)
def test_a_symlink_keeps_its_target(name: bytes, target: bytes) -> None:
    link = tarstream.member(name, tarstream.SYMLINK, 0o777, 0, 0, target)
    (found,) = read(archive(link))
    assert found.issym() and os.fsencode(found.linkname) == target


@given(st.binary(min_size=100, max_size=100), st.binary(min_size=100, max_size=100))
def test_the_checksum_is_right_for_any_bytes(name: bytes, target: bytes) -> None:
    block = tarstream.header(name, tarstream.SYMLINK, 0o777, 8**13, -1, target)
    blank = block[:148] + b" " * 8 + block[156:]
    assert int(block[148:154], 8) == sum(blank)


@pytest.mark.parametrize("size", [0, 8**11 - 1, 8**11, 2**40])
def test_sizes_beyond_octal_are_read_back(size: int) -> None:
    block = tarstream.header(b"big", tarstream.FILE, 0o644, size)
    assert tarfile.TarInfo.frombuf(block, "utf-8", "strict").size == size


@given(st.integers(0, 40).map(lambda blocks: blocks * 512))
def test_a_filler_has_the_size_asked_for_and_holds_no_member(size: int) -> None:
    filler = tarstream.filler(size)
    assert len(filler) == size
    file = tarstream.member(b"after", tarstream.FILE, 0o644)
    assert [found.name for found in read(archive(filler, file))] == ["after"]


@pytest.mark.parametrize("tar", ["gnu", "busybox", "bsdtar", "toybox"])
def test_every_tar_unpacks_names_modes_times_and_fillers(
    tar: str, place: Path, tmp_path: Path
) -> None:
    """Names of all lengths and bytes, also NFD and not UTF-8, in the C locale.

    They are in a directory, as on the wire: bsdtar takes a leading backslash off.
    """
    place.joinpath("0").mkdir()
    commands = {
        "gnu": ["tar"],
        "busybox": farends.need("busybox") + ["tar"],
        "bsdtar": farends.need("bsdtar"),
        "toybox": farends.need("toybox") + ["tar"],
    }
    names = [b"x" * n for n in (1, 99, 100, 101, 255)]
    names += [bytes([byte]) * 3 for byte in range(1, 256) if byte not in b"/."]
    names += ["e\u0301".encode(), b"-rf *", b"a\nb", b"\xff\xfe", b"\xff" * 150]
    links = {b"l": b"t" * 150, b"\xfe" * 60: b"\xff" * 99, b"\xfd" * 99: b"\xff" * 150}
    members = []
    for number, name in enumerate(names):
        data = b"%d" % number
        members.append(
            tarstream.member(
                b"0/" + name,
                tarstream.FILE,
                0o600 + number % 64,
                len(data),
                10**18 + number,
            )
        )
        members.append(data + tarstream.padding(len(data)))
        if number % 50 == 0:
            members.append(tarstream.filler(1536))
    for name, target in links.items():
        members.append(
            tarstream.member(b"0/" + name, tarstream.SYMLINK, 0o777, 0, 0, target)
        )
    words = [*commands[tar], "-xpof", "-", "-C", str(place)]
    subprocess.run(
        words,
        input=archive(*members),
        env={**os.environ, "LC_ALL": "C"},
        check=True,
        preexec_fn=lambda: os.umask(0),
    )
    unpacked = os.fsencode(place) + b"/0/"
    found = sorted(os.listdir(unpacked))
    assert found == sorted([*names, *links])
    for number, name in enumerate(names):
        path = unpacked + name
        status = os.stat(path)
        assert status.st_mode & 0o777 == 0o600 + number % 64, name
        exact = 10**18 + number
        allowed = (exact,) if tar in ("gnu", "bsdtar") else (exact, 10**18)
        assert status.st_mtime_ns in allowed
        with open(path, "rb") as file:
            assert file.read() == b"%d" % number
    for name, target in links.items():
        assert os.readlink(unpacked + name) == target
