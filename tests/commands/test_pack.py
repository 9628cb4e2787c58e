"""fr-pack by hand: path streams in, a tar any tar unpacks out."""

from __future__ import annotations

import contextlib
import errno
import os
import pty
import random
import resource
import signal
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from pathlib import Path

import farends
import programs
import pytest
import trees
from fuzz import each_seed, hunts

from filerep import pathstream
from filerep.archive.outbuffer import SIZE
from filerep.archive.worker import SHARE, usable
from filerep.command import OutputError
from filerep.replica.packing import pack
from filerep.source import RootGone, Source

FR_PACK = str(programs.ROOT / "bin" / "fr-pack")
FR_WALK = str(programs.ROOT / "bin" / "fr-walk")


def packed(
    root: Path, records: bytes, *options: str
) -> subprocess.CompletedProcess[bytes]:
    return programs.run([FR_PACK, *options, root], stdin=records)


def unpacked(archive: bytes, into: Path, tar: str = "tar") -> None:
    into.mkdir(exist_ok=True)
    subprocess.run(
        [tar, "-xpf", "-", "-C", into],
        input=archive,
        check=True,
        preexec_fn=lambda: os.umask(0o022),
    )


def test_a_hostile_tree_comes_out_as_it_went_in(place: Path) -> None:
    trees.hostile_tree(place / "src")
    walked = programs.run([FR_WALK, place / "src"])
    result = packed(place / "src", walked.stdout)
    assert (result.returncode, result.stderr) == (0, b"")
    unpacked(result.stdout, place / "out")
    trees.assert_same(place / "src", place / "out")


def test_bsdtar_gets_names_that_look_like_drives_and_backslashes(place: Path) -> None:
    names = [b"c:drive", b"\\\\server", b"\\", b"c:"]
    trees.plant(place / "src", {name: b"x" for name in names})
    result = packed(place / "src", pathstream.encode(names))
    unpacked(result.stdout, place / "out", "bsdtar")
    assert sorted(os.listdir(os.fsencode(place / "out"))) == sorted(names)


@pytest.mark.parametrize(
    "record", [b"a/f", b"./a/f", b"a//f", b"a/./f"], ids=lambda record: record.decode()
)
def test_a_path_is_taken_however_find_or_a_person_spells_it(
    record: bytes, place: Path
) -> None:
    trees.plant(place / "src", {"a/f": b"hello"})
    unpacked(packed(place / "src", record + b"\0").stdout, place / "out")
    assert (place / "out/a/f").read_bytes() == b"hello"


def test_an_odd_spelling_is_seen_also_behind_neighbours(place: Path) -> None:
    trees.plant(place / "src", {"a/f": b"1", "a/g": b"2", "a/.h": b"3", "i": b"4"})
    odd = [b"a/f", b"a/..", b"a/.", b"a/", b"/a/g", b"a//g", b"a/.h", b"a/../i", b"/i"]
    result = packed(place / "src", pathstream.encode(odd))
    assert result.stderr.count(b"not a path below SRC") == 4
    unpacked(result.stdout, place / "out")
    assert sorted(path.name for path in (place / "out").rglob("*")) == [
        ".h",
        "a",
        "f",
        "g",
    ]


@pytest.mark.parametrize("record", [b"/etc/passwd", b"../up", b"a/../../up", b".."])
def test_what_lies_outside_is_refused_with_a_message(
    record: bytes, place: Path
) -> None:
    trees.plant(place / "src", {"f": b""})
    result = packed(place / "src", record + b"\0f\0")
    assert result.returncode == 1
    assert result.stderr.startswith(b"fr-pack: not a path below SRC: '")
    unpacked(result.stdout, place / "out")
    assert os.listdir(place / "out") == ["f"]


def test_gone_paths_directories_and_hints_send_nothing(place: Path) -> None:
    trees.plant(place / "src", {"d/f": b""})
    result = packed(place / "src", b"gone\0d\0d/\0./\0.\0\0no/such/dir\0d/f/below\0")
    assert (result.returncode, result.stderr) == (0, b"")
    unpacked(result.stdout, place / "out")
    assert os.listdir(place / "out") == []


def test_nothing_is_read_through_a_directory_that_became_a_symlink(
    place: Path,
) -> None:
    trees.plant(place / "src", {"real/f": b"secret"})
    os.symlink("real", place / "src/link")
    result = packed(place / "src", b"link/f\0link\0")
    unpacked(result.stdout, place / "out")
    assert os.listdir(place / "out") == ["link"]
    assert os.readlink(place / "out/link") == "real"


def test_set_id_bits_and_owners_are_left_out(place: Path) -> None:
    trees.plant(place / "src", {"f": b""})
    os.chmod(place / "src/f", 0o6755)
    unpacked(packed(place / "src", b"f\0").stdout, place / "out")
    assert os.stat(place / "out/f").st_mode & 0o7777 == 0o755


def test_an_unreadable_file_costs_one_message(
    place: Path,
) -> None:
    trees.plant(place / "src", {"a b": b"", "c": b"x"})
    os.chmod(place / "src/a b", 0)
    result = programs.run(
        [*farends.without_rights(), FR_PACK, place / "src"], stdin=b"a b\0c\0"
    )
    assert result.returncode == 1
    assert result.stderr == b"fr-pack: cannot read 'a b': Permission denied\n"
    unpacked(result.stdout, place / "out")
    assert os.listdir(place / "out") == ["c"]


def test_a_pause_in_the_input_lets_tar_apply_what_came_so_far(place: Path) -> None:
    trees.plant(place / "src", {"first": b"1", "second": b"2"})
    (place / "out").mkdir()
    packer = subprocess.Popen(
        [FR_PACK, place / "src"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=programs.environment(),
    )
    tar = subprocess.Popen(["tar", "-xC", place / "out"], stdin=packer.stdout)
    assert packer.stdin is not None and packer.stdout is not None
    packer.stdout.close()
    for name in ("first", "second"):
        packer.stdin.write(os.fsencode(name) + b"\0")
        packer.stdin.flush()
        programs.wait_for((place / "out" / name).exists)
    packer.stdin.close()
    assert packer.wait(10) == 0 and tar.wait(10) == 0


def test_a_listing_of_the_other_end_leaves_out_what_it_has(place: Path) -> None:
    trees.plant(place / "src", {"same": b"1", "d/changed": b"2", "d/new": b"3"})
    subprocess.run(["cp", "-a", place / "src", place / "out"], check=True)
    (place / "src/d/changed").write_bytes(b"4")
    (place / "out/d/new").unlink()
    form = "%y %m %s %T@ %p\\0%l\\0"
    listing = subprocess.run(
        ["find", ".", "-printf", form], cwd=place / "out", stdout=subprocess.PIPE
    )
    (place / "listing").write_bytes(listing.stdout)
    walked = programs.run([FR_WALK, place / "src"])
    result = packed(place / "src", walked.stdout, "--listing", str(place / "listing"))
    names = subprocess.run(["tar", "-t"], input=result.stdout, stdout=subprocess.PIPE)
    assert sorted(names.stdout.split()) == [b"d/changed", b"d/new"]


def test_a_state_file_makes_the_next_archive_hold_only_what_changed(
    place: Path,
) -> None:
    """A symbolic link was in each of them."""
    tree = {"a": b"1", "b": b"2", "l": ("->", "a"), "m": ("->", "a")}
    trees.plant(place / "src", tree)
    options = ("--state", str(place / "state"))
    paths = b"a\0b\0l\0m\0"
    first = packed(place / "src", paths, *options)
    (place / "src/b").write_bytes(b"3")
    (place / "src/m").unlink()
    (place / "src/m").symlink_to("b")
    second = packed(place / "src", paths, *options)
    for result, expected in ((first, b"a\nb\nl\nm\n"), (second, b"b\nm\n")):
        names = subprocess.run(
            ["tar", "-t"], input=result.stdout, stdout=subprocess.PIPE
        )
        assert names.stdout == expected


def test_an_archive_is_not_written_to_a_terminal(place: Path) -> None:
    master, slave = pty.openpty()
    try:
        result = subprocess.run(
            [FR_PACK, place],
            stdin=subprocess.DEVNULL,
            stdout=slave,
            stderr=subprocess.PIPE,
            env=programs.environment(),
        )
    finally:
        os.close(master)
        os.close(slave)
    assert result.returncode == 64
    assert result.stderr == b"fr-pack: will not write an archive to a terminal\n"


def test_a_closed_standard_input_is_told(place: Path) -> None:
    command = f'exec "{FR_PACK}" "$0" <&- | cat'
    result = programs.run(["bash", "-o", "pipefail", "-c", command, place])
    assert result.returncode == 66
    assert result.stderr == b"fr-pack: standard input is closed\n"


def test_a_standard_input_that_cannot_be_read_is_told(place: Path) -> None:
    command = f'exec "{FR_PACK}" "$0" 0>/dev/null | cat'
    result = programs.run(["bash", "-o", "pipefail", "-c", command, place])
    assert result.returncode == 66
    why = b"cannot read standard input: Bad file descriptor"
    assert result.stderr == b"fr-pack: %s\n" % why


def test_a_full_disk_is_an_error_and_a_closed_reader_is_not(place: Path) -> None:
    trees.plant(place / "src", {"f": bytes(1 << 20)})
    with open("/dev/full", "wb") as full:
        result = subprocess.run(
            [FR_PACK, place / "src"],
            input=b"f\0",
            stdout=full,
            stderr=subprocess.PIPE,
            env=programs.environment(),
        )
    assert result.returncode == 74
    assert result.stderr == b"fr-pack: cannot write output: No space left on device\n"
    reader, writer = os.pipe()
    os.close(reader)
    result = subprocess.run(
        [FR_PACK, place / "src"],
        input=b"f\0",
        stdout=writer,
        stderr=subprocess.PIPE,
        env=programs.environment(),
    )
    os.close(writer)
    assert (result.returncode, result.stderr) == (0, b"")


@pytest.mark.parametrize("before", [0, SHARE + 1])
def test_a_file_that_shrinks_while_it_is_read_does_not_break_the_stream(
    before: int, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The size in the header is kept, and the file follows again as it is then.

    Behind many others it falls to the second process.
    """
    trees.plant(place / "src", {"log": b"x" * 100_000, "next": b"n"})
    source = Source(os.fsencode(place / "src"))
    records, archive = os.pipe(), os.pipe()
    os.write(records[1], b"gone\0" * before + b"log\0next\0")
    os.close(records[1])
    plain = os.readv
    cut = []

    def shrinking(fd: int, buffers: list[memoryview]) -> int:
        if not cut:
            cut.append(fd)
            os.truncate(place / "src/log", 10)
        return plain(fd, buffers)

    monkeypatch.setattr(os, "readv", shrinking)
    tar = subprocess.Popen(
        ["tar", "-xC", place], stdin=archive[0], pass_fds=[archive[0]]
    )
    os.close(archive[0])
    pack(source, records[0], archive[1], no_error, no_record)
    os.close(archive[1])
    assert tar.wait(10) == 0 and cut
    assert (place / "log").read_bytes() == b"x" * 10
    assert (place / "next").read_bytes() == b"n"


def test_a_second_process_makes_no_other_archive(place: Path) -> None:
    """By one processor or by two: the same members in order, the same messages."""
    names = {f"d{number % 7}/f{number}": b"%d" % number for number in range(3000)}
    trees.plant(place / "src", {**names, "large": bytes(3 * SIZE)})
    os.symlink("d1", place / "src/link")
    for number in range(0, 3000, 100):
        os.chmod(place / f"src/d{number % 7}/f{number}", 0)
    some = [os.fsencode(name) for name in names]
    some[300:300] = [b"link", b"../up", b"large", b"d1/", b"gone", b"d9/f", b"large"]
    argv = [*farends.without_rights(), FR_PACK, place / "src"]
    records = pathstream.encode(some) + b"link"
    by_two = programs.run(argv, stdin=records)
    one = {min(os.sched_getaffinity(0))}
    by_one = programs.run(
        argv, stdin=records, preexec_fn=lambda: os.sched_setaffinity(0, one)
    )
    assert by_two.returncode == by_one.returncode == 1
    assert by_two.stdout == by_one.stdout
    messages = by_one.stderr.splitlines()
    assert len(messages) == 31
    assert sorted(by_two.stderr.splitlines()) == sorted(messages)


def test_the_second_process_ends_with_the_first(place: Path) -> None:
    trees.plant(place / "src", {"f": b"1" * 1000})
    with packing(place) as (packer, second):
        packer.process.kill()
        programs.wait_for(lambda: not any(map(programs.alive, second)))
    with packing(place) as (packer, second):
        assert packer.process.stdin is not None
        packer.process.stdin.close()
        assert packer.end() == 0
        assert not any(map(programs.alive, second))


def test_a_killed_second_process_is_no_success(place: Path) -> None:
    trees.plant(place / "src", {"f": b"1" * 1000})
    with packing(place) as (packer, second):
        for pid in second:
            os.kill(pid, signal.SIGKILL)
        programs.wait_for(lambda: not any(map(programs.alive, second)))
        assert packer.process.stdin is not None
        with contextlib.suppress(BrokenPipeError):  # it may have noticed by now
            packer.process.stdin.write(b"f\0" * 2 * SHARE)
            packer.process.stdin.close()
        status = packer.end()
        words = b"fr-pack: its worker process was killed\n"
        assert (status, packer.errors) == ((71, words) if second else (0, b""))


def test_it_ends_well_where_nobody_is_told_of_ended_processes(place: Path) -> None:
    """Daemons start programs with SIGCHLD ignored."""
    trees.plant(place / "src", {"f": b"1" * 1000})
    done = programs.run(
        [FR_PACK, place / "src"],
        stdin=b"f\0" * 2 * SHARE,
        preexec_fn=lambda: signal.signal(signal.SIGCHLD, signal.SIG_IGN),
    )
    assert (done.returncode, done.stderr) == (0, b"")


@contextlib.contextmanager
def packing(place: Path) -> Iterator[tuple[programs.Running, list[int]]]:
    """fr-pack in the middle of its work, and its second process, if there are processors."""
    with programs.running(FR_PACK, place / "src", stdin=subprocess.PIPE) as packer:
        assert packer.process.stdin is not None
        packer.process.stdin.write(b"f\0" * 2 * SHARE)
        packer.process.stdin.flush()
        packer.wait_for(lambda: len(packer.family()) == usable())
        yield packer, packer.family()


def test_files_about_as_long_as_the_buffer_come_out_whole(place: Path) -> None:
    sizes = [SIZE - 1537, SIZE - 1536, SIZE - 1535, SIZE, SIZE + 1, 0, 1]
    trees.plant(place / "src", {f"f{size}": os.urandom(size) for size in sizes})
    records = b"".join(b"f%d\0" % size for size in sizes)
    unpacked(packed(place / "src", records).stdout, place / "out")
    trees.assert_same(place / "src", place / "out")


def no_error(action: str, path: bytes, error: OSError) -> None:
    raise error


def no_record(record: bytes, why: str) -> None:
    raise AssertionError(why)


def test_the_root_is_known_again_only_while_its_name_leads_to_it(place: Path) -> None:
    trees.plant(place / "src", {"f": b""})
    source = Source(os.fsencode(place / "src"))
    source.check()
    os.rename(place / "src", place / "away")
    with pytest.raises(RootGone):
        source.check()
    trees.plant(place / "src", {"f": b""})
    with pytest.raises(RootGone):
        source.check()


def test_paths_longer_than_path_max_are_looked_at(place: Path) -> None:
    name = b"d" * 250
    directory = os.open(place, os.O_RDONLY)
    for _ in range(20):
        os.mkdir(name, dir_fd=directory)
        inner = os.open(name, os.O_RDONLY, dir_fd=directory)
        os.close(directory)
        directory = inner
    os.close(os.open(b"f", os.O_CREAT | os.O_WRONLY, dir_fd=directory))
    os.close(directory)
    source = Source(os.fsencode(place))
    path = b"/".join([name] * 20 + [b"f"])
    assert source.look(path) is not None
    assert source.look(path + b"x") is None


def test_an_output_error_names_its_cause() -> None:
    error = OutputError(OSError(28, "No space left on device"))
    assert str(error) == "No space left on device"


READERS = [
    [sys.executable, "-m", "tarfile", "-l"],
    [
        sys.executable,
        "-c",
        "import sys, tarfile; tarfile.open(sys.argv[1], 'r|').getmembers()",
    ],
    ["tar", "-tf"],
    ["bsdtar", "-tf"],
    ["busybox", "tar", "-tf"],
]


@pytest.mark.parametrize(
    "turns",
    [[b"a"], [b"a", b"b"], [b"a\0b"], [b"large"], [b"a", b"large"], [b"a", b"gone"]],
    ids=lambda turns: "-".join(
        one.decode("latin-1").replace("\0", "+") for one in turns
    ),
)
def test_an_archive_whose_input_paused_is_whole_for_every_reader(
    turns: list[bytes], place: Path
) -> None:
    """Behind the last member, too, where Python's tarfile takes a filler for damage."""
    trees.plant(place / "src", {"a": b"1", "b": b"2", "large": os.urandom(SIZE + 1000)})
    out = place / "out.tar"
    with out.open("wb") as archive:
        packer = subprocess.Popen(
            [FR_PACK, place / "src"],
            stdin=subprocess.PIPE,
            stdout=archive,
            env=programs.environment(),
        )
        assert packer.stdin is not None
        size = 0
        for turn in turns:
            packer.stdin.write(turn + b"\0")
            packer.stdin.flush()
            if turn != b"gone":
                programs.wait_for(lambda: out.stat().st_size > size)
                programs.wait_for(lambda: not out.stat().st_size % 10240)
            size = out.stat().st_size
        packer.stdin.close()
        assert packer.wait(20) == 0
    for reader in READERS:
        read = programs.run([*reader, out])
        assert (read.returncode, read.stderr) == (0, b""), reader
    into = place / "into"
    into.mkdir()
    subprocess.run(["tar", "-xpf", out, "-C", into], check=True)
    for name in b"\0".join(turns).split(b"\0"):
        if name != b"gone":
            one, other = place / "src" / name.decode(), into / name.decode()
            assert one.read_bytes() == other.read_bytes()
            late = name != b"large" or len(turns) > 1  # the first may lack the fraction
            assert not late or one.stat().st_mtime_ns == other.stat().st_mtime_ns


@pytest.mark.parametrize("first", ["f", "link"])
def test_an_archive_begins_with_a_member_as_docker_wants_it(
    first: str, place: Path
) -> None:
    """It looks at the first 512 bytes alone: no record with a time may stand there."""
    trees.plant(place / "src", {"f": b"FROM scratch\n"})
    os.symlink("f", place / "src/link")
    archive = packed(place / "src", first.encode() + b"\0").stdout
    assert archive[156:157] in b"02"
    unpacked(archive, place / "out")
    found, sent = (os.lstat(place / where / first) for where in ("out", "src"))
    assert found.st_mtime_ns == sent.st_mtime_ns


@pytest.mark.parametrize("option", ["--wire", "--answers-fd", "--urgent-fd"])
@pytest.mark.parametrize("number", ["99", "x", "-1"])
def test_a_descriptor_that_is_not_open_is_wrong_usage(
    option: str, number: str, place: Path
) -> None:
    words = dict([("--wire", "0"), (option, number)])
    argv = ["fr-pack", *[word for pair in words.items() for word in pair], place]
    done = programs.run(argv)
    said = f"fr-pack: {option} takes an open descriptor, not '{number}'\n"
    assert (done.returncode, done.stderr.decode()) == (64, said)


@pytest.mark.parametrize(
    "line, said",
    [
        ("git -C src ls-files", b"ends in a newline"),
        ("git -C src ls-files a", None),  # one line is one path, nearly
        ("find src -type f", b"ends in a newline"),
        ("git -C src status -sz", b"is no path but a line of git status"),
        ("find src -type f -print0", b"paths are relative to SRC"),
        ("tar c src", b"is an archive"),
        ("printf a | gzip", b"is an archive"),
        # What is in it may look like paths that are not in SRC.
        ("printf '/a\\0../b\\0' >src/c; tar c src", b"is an archive"),
        ("printf '\\037\\213\\010\\0/a\\0../b\\0'", b"is an archive"),
        ("printf 'gone\\0gone too\\0'", None),
        ("printf '?? gone\\0'", None),
    ],
)
def test_what_is_piped_in_by_mistake_is_answered_in_one_line(
    line: str, said: bytes | None, place: Path
) -> None:
    trees.plant(place / "src", {"a": b"1", "b": b"2"})
    for words in (["init", "-q"], ["add", "-A"]):
        subprocess.run(["git", "-C", place / "src", *words], check=True)
    result = programs.run(["sh", "-c", f"{line} | '{FR_PACK}' src"], cwd=place)
    if said is None and "ls-files" not in line:
        assert (result.returncode, result.stderr) == (0, b"")
    elif said is not None:
        assert result.returncode == 1 and said in result.stderr
        assert result.stderr.count(b"\n") == 1


@pytest.mark.parametrize(
    "line, where",
    [
        ("fr-walk src | fr-pack .", "./src"),
        ("fr-walk src | fr-pack other", "./src"),
        ("fr-walk src/deep/er | fr-pack src", "src/deep/er"),
        ("printf 'one\\0' | fr-pack .", "./src/deep/er"),
        ("printf 'a\\0' | fr-pack .", None),  # one alone may have been removed
        ("printf 'a\\0c\\0' | fr-pack .", None),
        ("printf 'a\\0b\\0other\\0' | fr-pack .", None),
        ("cat /dev/null | fr-pack .", None),
    ],
)
def test_paths_relative_to_another_directory_are_answered(
    line: str, where: str | None, place: Path
) -> None:
    trees.plant(place / "src", {"a": b"1", "b": b"2", "deep/er/one": b"3"})
    (place / "other").mkdir()
    result = programs.run(["sh", "-c", line], cwd=place)
    if where is None:
        assert (result.returncode, result.stderr) == (0, b"")
    else:
        assert result.returncode == 1
        assert f"is not in SRC, but in '{where}':".encode() in result.stderr
        assert result.stderr.count(b"\n") == 1


@pytest.mark.parametrize("source", ["src", "link", "src/", "/src"])
def test_absolute_paths_below_src_are_taken(source: str, place: Path) -> None:
    trees.plant(place / "src", {"d/f": b"1", "g": b"2"})
    os.symlink("src", place / "link")
    root = f"{place}{source}" if source.startswith("/") else source
    named = [
        f"{place}/src/d/f",
        f"{place}/src//./g",
        f"{place}/srcd/f",
        f"{place}/src/../x",
    ]
    if source == "link":
        named.append(f"{place}/link/d/f")
    records = b"".join(os.fsencode(one) + b"\0" for one in named)
    result = programs.run([FR_PACK, root], stdin=records, cwd=place)
    assert result.stderr.count(b"not a path below SRC") == 2
    unpacked(result.stdout, place / "out")
    trees.assert_same(place / "src", place / "out")


def test_a_foreign_file_is_no_state_file(place: Path) -> None:
    trees.plant(place / "src", {"a": b"1"})
    (place / "notes").write_text("do not lose this")
    result = packed(place / "src", b"a\0", "--state", str(place / "notes"))
    assert result.returncode == 64 and b"it is left as it is" in result.stderr
    assert (place / "notes").read_text() == "do not lose this"


@pytest.mark.parametrize("descriptors", [9, 12, 20, 40])
def test_with_few_descriptors_all_is_packed_all_the_same(
    descriptors: int, place: Path
) -> None:
    """Directories that are kept open make room for what is to be read."""
    names = {f"d{number}/e/f": b"%d" % number for number in range(60)}
    trees.plant(place / "src", names)
    limit = (descriptors, descriptors)
    result = programs.run(
        [FR_PACK, place / "src"],
        stdin=b"".join(os.fsencode(name) + b"\0" for name in names),
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, limit),
    )
    assert (result.returncode, result.stderr) == (0, b"")
    unpacked(result.stdout, place / "out")
    trees.assert_same(place / "src", place / "out")


@hunts
def test_whatever_a_path_stream_says_only_what_is_below_src_is_packed(
    place: Path,
) -> None:
    trees.plant(place / "src", {"a": b"1", "d/f": b"2", "d/e/g": b"3"})
    trees.plant(place, {"victim": b"secret", "srcd/f": b"secret"})
    os.symlink("..", place / "src/up")
    source = Source(os.fsencode(place / "src"))
    parts = [b"a", b"d", b"f", b"e", b"..", b".", b"", b"up", b"victim", b"\xff", b"\n"]
    parts += [b"x" * 300, os.fsencode(place), b"/", b"srcd"]

    def one(dice: random.Random) -> None:
        stream = b"\0".join(
            b"/".join(dice.choices(parts, k=dice.randrange(1, 6)))
            for _ in range(dice.randrange(30))
        )
        if dice.random() < 0.2:
            stream += dice.randbytes(500)
        records, archive = os.pipe(), os.open(place / "out", os.O_CREAT | os.O_RDWR)
        os.ftruncate(archive, 0)
        os.write(records[1], stream)
        os.close(records[1])
        pack(source, records[0], archive, no_error_but_length, lambda *_: None)
        os.close(records[0])
        os.close(archive)
        with tarfile.open(place / "out") as read:
            names = {member.name for member in read.getmembers()}
        assert names <= {"a", "d/f", "d/e/g", "up"}

    each_seed(300, one)


def no_error_but_length(action: str, path: bytes, error: OSError) -> None:
    assert error.errno == errno.ENAMETOOLONG
