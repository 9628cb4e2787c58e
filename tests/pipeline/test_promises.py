"""What docs/security.md promises, where no other test holds it."""

from __future__ import annotations

import random
import stat
import sys
from pathlib import Path

import farends
import pytest
from programs import environment, run, running
from trees import entries, plant

# Goes between the shell and file-replicator, and adds answers that nobody has given.
FORGER = """
import os, random, subprocess, sys
dice = random.Random(sys.argv[1])
shell = subprocess.Popen(["bash"], stdout=subprocess.PIPE)
numbers = [str(n) for n in (0, 1, 2, 3, 99, -1)]
words = ["ok", "failed", "bad", "lost", "there", "kept", "mode", "aside", "hook", "listing", "bye"]
tails = ["", "../../x", "/etc/passwd", "1 ../x", "\\0\\0", "x" * 5000, "\\x1b[2J", "rm -rf /"]
ready = False
while True:
    data = os.read(shell.stdout.fileno(), 65536)
    if not data:
        break
    if not ready:
        ready = b"ready" in data
        os.write(1, data)
        continue
    for line in data.splitlines(True):
        if dice.random() < 0.5:
            forged = [dice.choice(words), dice.choice(numbers), dice.choice(numbers), dice.choice(tails)]
            os.write(1, " ".join(forged[: dice.randrange(1, 5)]).encode() + b"\\n")
        if dice.random() < 0.9:
            os.write(1, line)
"""


@pytest.fixture
def place(tmp_path: Path) -> Path:
    plant(tmp_path, {"source/a/f": "f\n", "source/g": "g\n", "source/l": ("->", "a/f")})
    plant(tmp_path, {"beside/file": "not yours\n", "forger.py": FORGER})
    return tmp_path


def seen(root: Path) -> dict[bytes, tuple[int, ...]]:
    return {
        path: (s.st_ino, s.st_mode, s.st_size, s.st_mtime_ns, s.st_ctime_ns)
        for path, s in entries(root)
    }


@pytest.mark.parametrize("seed", range(6))
def test_whatever_the_far_end_answers_the_source_stays_as_it_is(
    place: Path, seed: int
) -> None:
    before = seen(place / "source"), seen(place / "beside")
    dice = random.Random(seed)
    for _ in range(2):  # the second time it has something to remember
        plant(place, {"dest/source/theirs": "theirs\n"})
        words = ["file-replicator", "--no-replicate-on-change", "--keepalive", "0.3"]
        words += ["--debugging"] * dice.choice([0, 1])
        words += [place / "source", place / "dest"]
        words += [sys.executable, place / "forger.py", str(dice.random())]
        env = environment(XDG_STATE_HOME=str(place / "state"))
        done = run(words, env=env, timeout=30)
        assert done.returncode in (0, 1, 69), done.stderr.decode()
        assert b"internal error" not in done.stderr, done.stderr.decode()
        assert (seen(place / "source"), seen(place / "beside")) == before
        assert not (place / "x").exists()


# Once it has seen a listing, it says the same for ever; or says that nothing is there.
LIAR = """\
#!/bin/sh
if [ -e %(place)s/blind ]; then exit 0; fi
key=$(printf %%s "$*" | cksum | tr -d ' ')
[ -e %(place)s/said/$key ] || /usr/bin/find "$@" >%(place)s/said/$key
exec cat %(place)s/said/$key
"""


def test_a_far_end_that_lies_cheats_itself_only(place: Path) -> None:
    (place / "bin").mkdir()
    (place / "said").mkdir()
    liar = place / "bin/find"
    liar.write_text(LIAR % {"place": place})
    liar.chmod(0o755)
    env = environment(XDG_STATE_HOME=str(place / "state"))
    words = ["file-replicator", "--no-replicate-on-change", place / "source"]
    words += [place / "dest", "env", f"PATH={place}/bin:{farends.SYSTEM_PATH}", "bash"]
    before = seen(place / "source")
    for _ in range(2):
        done = run(words, env=env)
        assert done.returncode == 0, done.stderr.decode()
    copy = place / "dest/source/g"
    copy.unlink()
    done = run(words, env=env)
    assert b"nothing to send" in done.stderr
    assert not copy.exists()  # it misses a file
    (place / "blind").touch()
    done = run(words, env=env)
    assert done.returncode == 0, done.stderr.decode()
    assert copy.read_text() == "g\n"  # it gets files again
    assert seen(place / "source") == before


@pytest.mark.parametrize("tiny", ["", "1"], ids=["whole files", "parts"])
def test_what_is_remembered_holds_no_contents_and_is_open_to_nobody_else(
    place: Path, tiny: str
) -> None:
    secret = b"5up3r-s3cr3t"
    (place / "source/password").write_bytes(secret * 1000)
    env = environment(XDG_STATE_HOME=str(place / "state"), FILEREP_TINY=tiny)
    words = ["sh", "-c", 'umask 0; exec "$@"', "sh", "file-replicator"]
    words += [str(place / "source"), str(place / "dest"), "bash"]
    with running(*words, env=env) as program:
        program.says("in sync")
        kept = place / "state/file-replicator"
        assert stat.S_IMODE(kept.stat().st_mode) == 0o700
        files = list(kept.rglob("*"))
        assert any(stat.S_ISSOCK(path.stat().st_mode) for path in files)
        for path in files:
            status = path.stat()
            assert not stat.S_IMODE(status.st_mode) & 0o077, path
            if stat.S_ISREG(status.st_mode):
                assert secret not in path.read_bytes(), path
        assert any(b"password" in path.read_bytes() for path in files if path.is_file())
