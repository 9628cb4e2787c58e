"""What was typed wrong is answered with what to type."""

from __future__ import annotations

import os
import shlex
import signal
from pathlib import Path

import keyboard
import pytest
from programs import ROOT, environment, run, running

from filerep.wrapper.endings import last_line
from filerep.wrapper.mistakes import no_answer, not_answered

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


@pytest.mark.parametrize("columns", [80, 50])
def test_on_a_terminal_an_answer_is_broken_between_words(columns: int) -> None:
    with keyboard.bash(columns) as typed:
        typed.type("file-replicator my_project host:/srv; echo do''ne\n")
        typed.shows("done")
    text = typed.text()
    rows = text[text.index("file-replicator: ") : text.index("done")].splitlines()
    assert len(rows) > 1 and all(len(row) < columns for row in rows)
    assert all(row.startswith("  ") for row in rows[1:])
    assert " ".join(row.strip() for row in rows) == said("my_project", "host:/srv")


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


def test_docker_exec_with_t_is_told_so(pair: list[str], place: Path) -> None:
    docker = place / "docker"
    docker.write_text("#!/bin/sh\necho the input device is not a TTY\nexit 1\n")
    docker.chmod(0o755)
    line = said(*pair, str(docker), "exec", "-it", "box", "sh")
    assert line.endswith(
        "the input device is not a TTY; docker exec takes -i here, without -t"
    )


def test_a_word_that_asks_for_help_is_told_how() -> None:
    assert said("help") == "file-replicator: see -h, or --help for all options"


def test_each_that_takes_all_words_is_told_where_they_go() -> None:
    line = said("--each", "a", "b", "src", "/srv", "ssh", "{}", "sh")
    assert "SRC_DIR and DEST_PARENT_DIR stand before --each" in line


def test_a_command_that_each_has_taken_is_told_what_stands_before_it(
    pair: list[str],
) -> None:
    line = said(pair[0], "/srv/{}", "--each", "a", "b", "ssh", "{}", "sh")
    assert line.endswith(
        "CONNECTION_COMMAND is missing:"
        f" file-replicator {pair[0]} /srv/{{}} --each a b -- ssh {{}} sh; see -h"
    )


def test_a_place_for_words_that_are_not_there_is_told(
    pair: list[str], place: Path
) -> None:
    line = said(pair[0], f"{place}/{{}}", "--", "sh")
    assert ": {} stands for each word behind --each: file-replicator" in line
    assert not (place / "{}").exists()
    words = ["p", pair[0], f"{place}/{{}}", "--", "sh"]
    assert run([REPLICATOR, "--save", *words], cwd=place).returncode == 0
    done = run([REPLICATOR, "--once", "--each", "a", "b", "@p"], cwd=place)
    assert done.returncode == 0
    assert {"a", "b"} <= set(os.listdir(place))


@pytest.mark.parametrize(
    "words, told",
    [
        ("host:/srv src", "'host:/srv' cannot be SRC_DIR: SRC_DIR is a directory here"),
        ("src '$HOME/code' sh", "$HOME, for which nothing is put in; write '~/code'"),
        ("src '${HOME}' sh", "${HOME}, for which nothing is put in; write '~'"),
        ("src/f /srv sh", "SRC_DIR is a directory, such as the one that this file is"),
        ("'$HOME/src' /srv sh", "; the shell puts in what $ stands for, but not in"),
        ("'\"src\"' /srv sh", "; in a profile a word has no quotes around it"),
        ("—once src /srv sh", "'—once' begins with a long dash, and an option with"),
        ("src /srv — ssh host sh", "'—' begins with a long dash, and an option with"),
        ("my project /srv sh", "; is it 'my project'? then write it in quotes"),
        ("src box:/srv docker", ": file-replicator src /srv -- docker exec -i box sh"),
        ("src p:/srv kubectl", " src /srv -- kubectl exec -i p -- sh"),
        ("-p 22 src /srv -- ssh h sh", "command at the end: ssh -p 2222 host sh; see"),
        (
            "-a src /srv sh",
            "'-a'; all that is below SRC_DIR is copied in any case; see",
        ),
        ("--delete src /srv sh", "'--delete'; did you mean --mirror? see --help"),
        ("--run ls -la src /srv sh", "as one word, in quotes: --run 'ls -la ...'"),
        (
            "--on-sync make test src /srv sh",
            "put both in quotes: --on-sync 'make test'",
        ),
        ("--force src /srv sh", "'--force'; there is nothing to be forced; see --help"),
        ("--ignore x src /srv sh", "'--ignore'; did you mean --exclude? see --help"),
        ("--run ls --onec src /srv sh", "did you mean --once"),
        ("--run 'ls x' -u src /srv sh", "unknown option '-u'; see --help"),
    ],
)
def test_what_is_right_elsewhere_is_answered_with_how_it_is_here(
    words: str, told: str, place: Path
) -> None:
    (place / "src").mkdir()
    (place / "src/f").touch()
    (place / "my project").mkdir()
    done = run([REPLICATOR, *shlex.split(words)], cwd=place)
    assert done.returncode in (64, 66) and not done.stdout
    assert told in done.stderr.decode() and done.stderr.count(b"\n") == 1
    assert os.listdir(place / "src") == ["f"]


def test_an_empty_destination_is_no_copy(pair: list[str], place: Path) -> None:
    """It was emptied, and then nothing was to do."""
    (place / "far/src").mkdir(parents=True)
    (place / "far/src/theirs").touch()
    line = said("--clean-out-first", "--no-initial-replication", *pair, "bash")
    assert "contradict each other" in line and (place / "far/src/theirs").exists()


def test_a_machine_in_the_place_of_a_command_is_told_how_to_get_there(
    pair: list[str],
) -> None:
    assert said(*pair, "me@no-such-machine").endswith(
        "cannot run 'me@no-such-machine': No such file or directory"
        "; if it is a machine, write: ssh me@no-such-machine sh"
    )
    assert "machine" not in said(*pair, "/no/such/shell")


def test_a_command_in_one_pair_of_quotes(pair: list[str]) -> None:
    line = said(*pair, "ssh host sh")
    assert line.endswith(
        "No such file or directory; write it without quotes around it, in a profile"
        " a word a line"
    )


def test_a_pattern_that_is_a_path_is_told_how_to_be_one(pair: list[str]) -> None:
    line = said("--exclude", "./tests", *pair, "bash")
    assert line.endswith("would match nothing, as in a .gitignore; write '/tests'")
    line = said("--exclude=", *pair, "bash")
    assert line.endswith("--exclude has an empty pattern; is a variable not set?")


def test_a_pattern_that_is_a_path_into_src_dir_is_told_what_it_is_there(
    pair: list[str], place: Path
) -> None:
    """It matched nothing, in silence, and what it was to keep here was sent."""
    (place / "src/deep").mkdir()
    (place / "src/deep/key").touch()
    (place / "link").symlink_to("src")
    env = environment(HOME=str(place / "src"))

    def told(pattern: str) -> str:
        words = ["--exclude", pattern, "--once", "src", str(place / "far"), "bash"]
        done = run([REPLICATOR, *words], cwd=place, env=env)
        assert done.returncode == (64 if b"would match nothing" in done.stderr else 0)
        return done.stderr.decode().partition("SRC_DIR; write ")[2].strip()

    for pattern in (f"{place}/src", "src", "link", "~", f"../{place.name}/src"):
        assert told(f"{pattern}/deep/key") == "'/deep/key'"
        assert told(f"{pattern}/*.key") == "'/*.key'"
        assert told(f"{pattern}/new/") == "'/new/'"
        assert told(f"{pattern}/new/key") == "'/new/key'"
    assert told("src") == told("/src/x") == told("deep/key") == told("a/b") == ""
    assert told(f"{place}/other/key") == told("**/src/key") == told("/far/x") == ""
    (place / "src/src").mkdir()  # now it may be meant as it is written
    assert told("src/deep/key") == ""


def test_an_option_behind_the_command(pair: list[str]) -> None:
    line = said(*pair, "bash", "--no-replicate-on-change")
    assert line.endswith(
        "before a shell answered: bash: --no-replicate-on-change: invalid option"
        "; options such as '--no-replicate-on-change' go before SRC_DIR"
    )


def test_a_profile_without_a_name_is_told_so(pair: list[str], place: Path) -> None:
    words = [*pair, "--", "ssh", "host", "sh"]
    for line in (
        said("--save", *words),
        said(f"--save={pair[0]}", *words[1:]),
        said("--save", pair[0], "--", "sh"),
    ):
        assert line.endswith(
            f"--save needs a name for these words, in front of '{pair[0]}':"
            f" file-replicator --save web {pair[0]} /srv/app -- ssh host sh"
        )


def test_an_option_is_no_name_of_a_profile(pair: list[str]) -> None:
    assert said("--save", "--once", *pair, "sh").endswith(
        "--save needs a name for these words, in front of --once"
    )


def test_an_option_that_has_taken_src_dir_is_named(pair: list[str]) -> None:
    line = said("--on-sync", *pair, "bash")
    took = f"--on-sync has taken '{pair[0]}' for its value"
    assert f"CONNECTION_COMMAND is missing, as {took}: file-replicator" in line


def test_an_option_that_has_taken_src_dir_before_a_command_is_named(
    pair: list[str],
) -> None:
    line = said("--exclude", pair[0], "/no/such", "--", "ssh", "host", "sh")
    assert line.endswith(
        "cannot open '/no/such': No such file or directory"
        f"; is it '{pair[0]}', which --exclude has taken for its value?"
    )


def test_a_command_in_front_of_src_dir_is_told_where_it_goes() -> None:
    assert said("docker", "exec", "-i", "box", "sh", "src", "/home").endswith(
        ": SRC_DIR and DEST_PARENT_DIR stand in front of the command:"
        " file-replicator my_project /home/code -- docker ..."
    )


def test_what_is_missing_to_save_is_shown_with_a_name() -> None:
    line = said("--save", "src", "/srv", "bash")
    example = "file-replicator --save web /srv bash -- ssh host sh"
    assert line.endswith(f"CONNECTION_COMMAND is missing: {example}; see -h")


def test_a_profile_may_be_called_as_a_directory_is(place: Path) -> None:
    (place / "web").mkdir()
    words = ["--save", "web", "web", "/srv", "sh"]
    assert run([REPLICATOR, *words], cwd=place).returncode == 0
    assert (place / ".file-replicator/web").read_text() == "web\n/srv\n--\nsh\n"


@pytest.mark.parametrize(
    "text, line",
    [
        ("a\nb\n\n", "b"),
        ("unknown flag: --x\nSee 'docker exec --help'.\n", "unknown flag: --x"),
        ("unknown flag: --x\n\nUsage:  docker exec\n\nRun it\n", "unknown flag: --x"),
        (
            "usage: ssh [-46AaCf]\n           [-W host:port] destination\n",
            "usage: ssh [-46AaCf]",
        ),
        ("error: no pod\nSee 'kubectl exec -h' for more\n", "error: no pod"),
        ("See 'x --help'\n", "See 'x --help'"),
        (
            "channel 0: open failed: connect failed: Connection refused\n"
            "stdio forwarding failed\n"
            "kex_exchange_identification: Connection closed by remote host\n"
            "Connection closed by UNKNOWN port 65535\n",
            "channel 0: open failed: connect failed: Connection refused",
        ),
        (
            "Warning: Permanently added 'jump'\n"
            "kex_exchange_identification: Connection closed by remote host\n"
            "Connection closed by UNKNOWN port 65535\n",
            "Connection closed by UNKNOWN port 65535",
        ),
        (
            "sudo: unknown user me\nsudo: error initializing audit plugin sudoers_audit\n",
            "sudo: unknown user me",
        ),
    ],
)
def test_of_what_a_program_says_the_line_that_tells_is_shown(
    text: str, line: str
) -> None:
    assert last_line(text.encode()) == line


def test_what_is_wrong_is_shown_though_a_long_usage_text_follows(
    pair: list[str],
) -> None:
    # docker without its plugin compose says 4,314 bytes, of which the last 4,096 were kept.
    script = "echo unknown flag; echo; echo Usage:; seq 2000; exit 125"
    line = said(*pair, "--", "sh", "-c", f"{{ {script}; }} >&2")
    assert line.endswith("sh exited with 125 before a shell answered: unknown flag")


@pytest.mark.parametrize(
    "script",
    [
        # csh
        'read -r line; echo "$line: Command not found." >&2; exec cat >/dev/null',
        # fish, which says nothing before the end of its script
        "cat >/dev/null; echo \"fish: Unsupported use of '='. In fish, please use"
        " 'set POSIXLY_CORRECT 1'.\" >&2",
    ],
)
def test_a_shell_that_understands_another_language_is_told(
    script: str, pair: list[str]
) -> None:
    words = ["--connect-timeout", "2", *pair, "--", "sh", "-c", script]
    done = run([REPLICATOR, *words])
    assert done.returncode == 69
    assert b"gives no POSIX shell, but one such as csh, fish" in done.stderr


def test_a_shell_that_shows_what_it_runs_is_one(pair: list[str]) -> None:
    words = ["sh", "-c", "PS4='12:00: '; set -vx; exec bash -vx"]
    assert run([REPLICATOR, "--once", *pair, "--", *words]).returncode == 0


def test_who_closes_the_connection_and_runs_on_is_not_said_to_be_killed(
    pair: list[str],
) -> None:
    words = [*pair, "--", "sh", "-c", "exec >&-; exec sleep 60"]
    done = run([REPLICATOR, *words])
    assert done.returncode == 69
    why = b"the far end has closed the connection, though sh still runs\n"
    assert done.stderr.endswith(why), done.stderr


@pytest.mark.parametrize("words", [("fish",), ("ssh", "web", "/bin/fish")])
def test_fish_is_known_by_its_name_while_it_is_waited_for(words: tuple[str]) -> None:
    assert no_answer(words) == "; fish is no POSIX shell, put sh in its place"
    assert not no_answer(("ssh", "fish"))


@pytest.mark.parametrize(
    "words, status, hint",
    [
        ("sudo docker exec -it box sh", 1, "docker exec takes -i here, without -t"),
        ("ssh web docker exec box sh", 0, "docker exec needs -i"),
        ("ssh -t web docker exec -i box sh", 1, ""),
        ("docker exec -i box true", 0, "a shell must take its commands"),
        ("ssh -n web sh", 0, "ssh reads no standard input with -n: leave that out"),
        ("ssh web sudo -n sh", 1, ""),
        ("docker compose exec web sh", 1, "exec takes -T here, and no -i or -t"),
        ("docker-compose exec -it web sh", 0, "takes -T here, and no -i or -t"),
        ("docker compose exec -T web sh", 1, ""),
    ],
)
def test_an_option_by_which_no_shell_hears_us_is_named(
    words: str, status: int, hint: str
) -> None:
    said = not_answered(words.split(), status, ())
    assert said.endswith(hint) and bool(said) == bool(hint)


@pytest.mark.parametrize(
    "words, hint",
    [
        ("docker exec -t box sh", "; docker exec takes -i here, without -t"),
        ("kubectl exec -it pod -- sh", ""),  # which says that there is none, and works
        ("ssh -N web sh", "; ssh reads no standard input with -N: leave that out"),
        ("ssh -p 22 web sh", ""),
    ],
)
def test_an_option_by_which_nobody_ever_answers_is_named(words: str, hint: str) -> None:
    assert no_answer(words.split()) == hint


def test_a_question_that_nobody_answered_is_shown(pair: list[str]) -> None:
    script = "printf '[sudo] password for me: ' >&2; cat >/dev/null"
    # On a busy machine it else says first that nothing has answered yet.
    options = ["--quiet", "--connect-timeout", "0.5"]
    line = said(*options, *pair, "--", "sh", "-c", script)
    assert line.endswith("it said: [sudo] password for me:")


@pytest.mark.parametrize("hidden", [True, False], ids=["password", "host key"])
def test_a_question_on_the_terminal_is_waited_for_and_told(
    hidden: bool, pair: list[str], place: Path
) -> None:
    box = place / "box"
    hide = "stty -echo <&3; " if hidden else ""
    ask = f"{hide}printf 'the question? ' >&3; read -r answer <&3; stty echo <&3"
    box.write_text(f"#!/bin/sh\n({ask}) 3<>/dev/tty\nexec sh\n")
    box.chmod(0o755)
    with keyboard.bash(200) as typed:
        words = " ".join([*pair, "--", str(box)])
        typed.type(f"file-replicator --connect-timeout 2 {words}; echo do''ne\n")
        typed.shows("done")
        asked = (
            "box asked something on the terminal, such as for a password, and was not"
        )
        assert f"{asked} answered within 2 s (--connect-timeout)" in typed.text()
        assert "has not answered yet" not in typed.text()
        typed.type(f"stty echo; file-replicator {words}\n")
        typed.shows("the question? ", 2)
        typed.type("yes\n")
        typed.shows("in sync")
        typed.type("\x03")


@pytest.mark.parametrize(
    "end, how",
    [
        ("kill -s TERM $$", "box was killed by signal 15"),
        ("exit 137", "box exited with 137"),
        ("echo stale 4; kill -s TERM $$", "box was killed by signal 15"),
        ("echo stale 4; exit", "the far end answers 'stale 4', which makes no sense"),
    ],
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
        program.says(f"the connection was lost ({how}); connecting again")
        program.says("connected again")
