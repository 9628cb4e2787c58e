"""--checksum: contents are compared, whatever size and time say; with --dry-run it is a proof."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from farends import FarEnd
from programs import environment, run
from trees import assert_same, plant

ENDS = pytest.mark.parametrize("name", ["bash+gnu", "dash+bsdtar", "busybox+busybox"])


class Pair:
    """A source and its copy, the same by now."""

    def __init__(self, far: FarEnd, place: Path) -> None:
        self.far, self.place = far, place
        self.source, self.there = place / "project", far.here / "project"
        names = [f"d{n % 3}/file {n}" for n in range(12)]
        names += ["back\\slash", "new\nline", "back\\d/of two\nlines"]
        plant(self.source, {"small": "s", **{n: f"{n}\n" * 400 for n in names}})
        assert self.replicate()[0] == 0

    def replicate(self, *options: str) -> tuple[int, str, str]:
        words = ["file-replicator", "--once", *options, self.source, self.far.parent]
        env = environment(XDG_STATE_HOME=str(self.place / "state"))
        done = run([*words, *self.far.command], env=env, timeout=60)
        return done.returncode, done.stdout.decode(), done.stderr.decode()

    def alter(self, name: str) -> None:
        """Other contents over there, of the same size and time."""
        path = self.there / name
        before = os.stat(path)
        data = path.read_bytes()
        path.write_bytes(data[:-1] + b"?")
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


@pytest.fixture
def pair(far_end: Callable[[str], FarEnd], name: str, place: Path) -> Pair:
    return Pair(far_end(name), place)


@ENDS
def test_what_is_the_same_is_shown_to_be(name: str, pair: Pair) -> None:
    before = sorted(pair.there.rglob("*"))
    status, listed, said = pair.replicate("--checksum", "--dry-run")
    assert (status, listed) == (0, "")
    assert "compared the contents of 16 files: all are the same" in said
    # It has left a directory of its own there.
    assert sorted(pair.there.rglob("*")) == before
    one = ["--exclude", "*", "--include", "small"]
    said = pair.replicate("--checksum", "--dry-run", *one)[2]
    assert "compared the contents of 1 file: it is the same" in said


@ENDS
def test_what_only_contents_tell_apart_is_found_and_sent(name: str, pair: Pair) -> None:
    for path in ("small", "d1/file 4", "new\nline"):
        pair.alter(path)
    assert pair.replicate("--dry-run")[:2] == (0, "")
    status, listed, said = pair.replicate("--checksum", "--dry-run")
    assert status == 1 and "3 of them differ" in said
    assert "'small'" in listed and "'d1/file 4'" in listed
    assert "new\\x0aline" in listed
    assert len(listed.splitlines()) == 3
    status, _, said = pair.replicate("--checksum")
    assert status == 0 and "3 of them differ" in said
    assert_same(pair.source, pair.there, whole_seconds=True)
    assert pair.replicate("--checksum", "--dry-run")[0] == 0


def test_without_a_digest_tool_it_is_refused(
    far_end: Callable[[str], FarEnd], place: Path
) -> None:
    far, tools = far_end("bash+gnu"), place / "tools"
    tools.mkdir()
    for one in "bash tar rm rmdir mv mkdir cat id ls chmod find stat dd ln".split():
        found = shutil.which(one)
        assert found
        (tools / one).symlink_to(found)
    plant(place / "project", {"f": "x" * 5000})
    words = ["file-replicator", "--once", "--checksum", place / "project", far.parent]
    env = environment(XDG_STATE_HOME=str(place / "state"))
    done = run([*words, "env", f"PATH={tools}", "bash"], env=env, timeout=60)
    assert done.returncode == 69
    assert b"--checksum needs sha1sum or md5sum" in done.stderr
