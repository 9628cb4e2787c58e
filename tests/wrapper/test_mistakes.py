"""What was typed wrong is answered with what to type."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest
from programs import ROOT, run, running

REPLICATOR = str(ROOT / "bin/file-replicator")


def said(*words: str) -> str:
    """The only line that these words are answered with."""
    done = run([REPLICATOR, *words])
    assert done.returncode in (64, 66, 69) and not done.stdout
    (line,) = done.stderr.decode().splitlines()
    return line


@pytest.fixture
def pair(place: Path) -> list[str]:
    (place / "src").mkdir()
    return [str(place / "src"), str(place / "far")]


def test_what_the_connection_says_on_stdout_is_its_reason(pair: list[str]) -> None:
    script = "echo OCI runtime exec failed: no bash; exit 126"
    assert said(*pair, "--", "sh", "-c", script).endswith(
        "sh exited with 126 before a shell answered: OCI runtime exec failed: no bash"
    )


def test_its_words_on_stderr_count_more(pair: list[str]) -> None:
    script = "echo hello; echo no such host >&2; exit 255"
    assert said(*pair, "--", "sh", "-c", script).endswith("answered: no such host")


def test_no_bash_over_there_suggests_sh(pair: list[str], place: Path) -> None:
    docker = place / "docker"
    docker.write_text("#!/bin/sh\necho no bash\nexit 127\n")
    docker.chmod(0o755)
    line = said(*pair, str(docker), "exec", "-i", "box", "bash")
    assert line.endswith(
        "docker exited with 127 before a shell answered: no bash"
        "; if there is no bash over there, try sh"
    )


def test_docker_exec_without_i_is_told_so(pair: list[str], place: Path) -> None:
    docker = place / "docker"
    docker.write_text("#!/bin/sh\nexec bash </dev/null\n")
    docker.chmod(0o755)
    line = said(*pair, str(docker), "exec", "box", "sh")
    assert line.endswith("; it read no standard input: docker exec needs -i")
    assert "docker exec needs -i" in said(*pair, "true")


def test_a_command_in_one_pair_of_quotes(pair: list[str]) -> None:
    line = said(*pair, "ssh host sh")
    assert line.endswith(
        "No such file or directory; write the command without quotes around it"
    )


def test_a_pattern_that_is_a_path_is_told_how_to_be_one(pair: list[str]) -> None:
    line = said("--exclude", "./tests", *pair, "bash")
    assert line.endswith("would match nothing, as in a .gitignore; write '/tests'")


def test_an_option_behind_the_command(pair: list[str]) -> None:
    line = said(*pair, "bash", "--no-replicate-on-change")
    assert line.endswith(
        "; options such as '--no-replicate-on-change' go before SRC_DIR"
    )


def test_a_question_that_nobody_answered_is_shown(pair: list[str]) -> None:
    script = "printf '[sudo] password for me: ' >&2; cat >/dev/null"
    line = said("--connect-timeout", "0.5", *pair, "--", "sh", "-c", script)
    assert line.endswith("it said: [sudo] password for me:")


@pytest.mark.parametrize(
    "end, how",
    [("kill -s TERM $$", "was killed by signal 15"), ("exit 137", "exited with 137")],
)
def test_how_a_connection_was_lost_is_told(
    end: str, how: str, pair: list[str], place: Path
) -> None:
    box = place / "box"
    # The receiver's end is the connection's; then it ends in its own way.
    box.write_text(f"#!/bin/sh\nsh -c 'echo $$ >{place}/pid; exec sh' <&0\n{end}\n")
    box.chmod(0o755)
    with running(REPLICATOR, *pair, str(box)) as program:
        program.says("watching")
        os.kill(int((place / "pid").read_text()), signal.SIGKILL)
        program.says(f"the connection was lost (box {how}); connecting again")
        program.says("connected again")
