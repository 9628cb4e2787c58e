"""How what was typed is sorted out, with and without a profile."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from programs import ROOT, run

from filerep import command, replicate
from filerep.command import Stop
from filerep.wrapper.commandline import Typed

REPLICATOR = str(ROOT / "bin/file-replicator")
TAKES_VALUE = {
    "-n": False,
    "-q": False,
    "--as": True,
    "--dry-run": False,
    "--events": True,
    "--exclude": True,
    "--exclude-from": True,
    "--gitignore": False,
    "--mirror": False,
    "--no-gitignore": False,
    "--no-retry": False,
    "--once": False,
    "--poll": True,
    "--quiet": False,
    "--retry": False,
    "--save": True,
    "--wait": False,
}


@pytest.fixture(autouse=True)
def project(tmp_path: Path) -> Iterator[Path]:
    """The current directory, with no profile above it."""
    before = os.getcwd()
    os.chdir(tmp_path)
    yield tmp_path
    os.chdir(before)


def arranged(*words: str) -> list[str]:
    return Typed().arrange(list(words), TAKES_VALUE)


def profile(name: str, text: str, where: str = ".") -> None:
    (Path(where) / ".file-replicator").mkdir(parents=True, exist_ok=True)
    (Path(where) / ".file-replicator" / name).write_text(text)


# --- words ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "typed, meant",
    [
        ("s d ssh h sh", "s d ssh h sh"),
        ("s d -- ssh -q h", "s d ssh -q h"),
        ("s --as x d -q -- sh", "--as x -q s d sh"),
        ("s d kubectl exec -i pod -- sh", "s d kubectl exec -i pod -- sh"),
        ("s d -- kubectl exec -i pod -- sh", "s d kubectl exec -i pod -- sh"),
        ("-- -s -d sh", "./-s ./-d sh"),
        ("s -- -d sh", "s ./-d sh"),
    ],
)
def test_options_stand_before_the_command(typed: str, meant: str) -> None:
    assert arranged(*typed.split()) == meant.split()


@pytest.mark.parametrize(
    "typed, absent",
    [
        ("", "SRC_DIR, DEST_PARENT_DIR and CONNECTION_COMMAND are"),
        ("-n", "SRC_DIR, DEST_PARENT_DIR and CONNECTION_COMMAND are"),
        ("s", "DEST_PARENT_DIR and CONNECTION_COMMAND are"),
        ("s /d", "CONNECTION_COMMAND is"),
        ("s /d --", "CONNECTION_COMMAND is"),
    ],
)
def test_what_is_missing_is_named(typed: str, absent: str) -> None:
    with pytest.raises(Stop, match=f"^{absent} missing.*: file-replicator .* sh; see"):
        arranged(*typed.split())


@pytest.mark.parametrize(
    "typed, meant",
    [
        ("s bash", "s /home/code -- bash"),
        ("s docker exec -i box sh", "s /home/code -- docker exec -i box sh"),
        ("s -- ssh no-such-host sh", "s /home/code -- ssh no-such-host sh"),
    ],
)
def test_a_command_in_the_place_of_dest_parent_dir_is_moved(
    typed: str, meant: str
) -> None:
    with pytest.raises(Stop, match="^DEST_PARENT_DIR is missing in front of ") as stop:
        arranged(*typed.split())
    assert str(stop.value).endswith(f": file-replicator {meant}")


def test_a_directory_may_be_called_as_a_command_is() -> None:
    assert arranged("s", "docker", "sh") == ["s", "docker", "sh"]


@pytest.mark.parametrize(
    "words, name",
    [
        (["", "/d", "sh"], "SRC_DIR"),
        (["s", "", "ssh", "h", "sh"], "DEST_PARENT_DIR"),
        (["s", "/d", ""], "CONNECTION_COMMAND"),
    ],
)
def test_a_word_that_is_empty_is_named(words: list[str], name: str) -> None:
    with pytest.raises(Stop, match=f"^{name} is empty; is a variable not set?"):
        arranged(*words)


@pytest.mark.parametrize("option", ["--as", "--exclude", "--save"])
def test_an_option_that_stands_last_and_wants_a_value_is_named(option: str) -> None:
    for words in ([], ["src", "/code"]):
        with pytest.raises(Stop, match=f"^{option} needs a value") as told:
            arranged(*words, option)
        assert told.value.status == 64


@pytest.mark.parametrize(
    "there, meant",
    [
        ("host:/dir", "s /dir -- ssh host sh"),
        ("me@host:code", "s code -- ssh me@host sh"),
        ("host:", "s '~' -- ssh host sh"),
        ("ssh://host/dir", "s /dir -- ssh host sh"),
        ("ssh://me@host:2222/dir", "s /dir -- ssh -p 2222 me@host sh"),
    ],
)
def test_the_way_of_rsync_is_answered_with_ours(there: str, meant: str) -> None:
    with pytest.raises(Stop) as stop:
        arranged("s", there)
    assert str(stop.value).endswith(f": file-replicator {meant}")


def test_a_directory_with_a_colon_is_one_if_it_says_so() -> None:
    assert arranged("s", "./host:dir", "sh") == ["s", "./host:dir", "sh"]
    assert arranged("s", "/host:dir", "sh") == ["s", "/host:dir", "sh"]


@pytest.mark.parametrize(
    "option, hint",
    [
        ("--excude", "did you mean --exclude? see --help"),
        ("--delete", "did you mean --mirror? see --help"),
        ("-once", "did you mean --once? see --help"),
        ("-x", "see --help"),
        ("-nx", "see --help"),
        ("--hlep", "see --help"),
    ],
)
def test_an_unknown_option_is_named_with_one_that_is_known(
    option: str, hint: str
) -> None:
    with pytest.raises(Stop) as stop:
        arranged(option, "s", "/d", "sh")
    assert str(stop.value).endswith(hint)


@pytest.mark.parametrize(
    "pair",
    [
        "--retry --no-retry",
        "--gitignore --no-gitignore",
        "--mirror --no-delete",
        "--clean-out-first --no-delete",
        "--dry-run --wait",
    ],
)
def test_options_that_contradict_each_other_are_refused(pair: str) -> None:
    with pytest.raises(Stop, match="^{} and {} contradict".format(*pair.split())):
        Typed().arrange(
            [*pair.split(), "s", "/d", "sh"],
            {**TAKES_VALUE, "--no-delete": False, "--clean-out-first": False},
        )


# --- profiles -------------------------------------------------------------------------


def test_a_profile_is_a_word_a_line() -> None:
    profile("web", "# to the server\n--exclude\n  *.log \n\ns p\n/d\nssh\nhost\nsh\n")
    assert arranged("@web") == ["--exclude", "*.log", "s p", "/d", "ssh", "host", "sh"]


def test_without_places_the_default_is_taken() -> None:
    profile("default", "s\n/d\nsh\n")
    assert arranged() == ["s", "/d", "sh"]
    assert arranged("--wait") == ["--wait", "s", "/d", "sh"]


def test_options_may_stand_before_and_behind_it() -> None:
    profile("web", "s\n/d\nsh\n")
    assert arranged("-n", "@web", "--as", "x") == ["-n", "--as", "x", "s", "/d", "sh"]


def test_what_is_typed_wins_over_the_profile() -> None:
    profile("web", "--as\nold\n--retry\n--exclude=a\n-q\ns\n/d\nsh\n")
    typed = arranged("@web", "--as", "new", "--no-retry", "--exclude", "b", "--quiet")
    assert typed == [
        "--exclude=a",
        *["--as", "new", "--no-retry", "--exclude", "b", "--quiet", "s", "/d", "sh"],
    ]


def test_it_is_found_above_and_its_paths_begin_there(project: Path) -> None:
    profile("web", "s\n/d\nsh\n")
    (project / "a/b").mkdir(parents=True)
    os.chdir(project / "a/b")
    typed = Typed()
    words = typed.arrange(["--events", "log", "@web"], TAKES_VALUE)
    assert words == ["--events", str(project / "a/b/log"), "s", "/d", "sh"]
    assert typed.folder == str(project)
    assert arranged("--events", "5", "@web")[:2] == ["--events", "5"]


def test_what_an_editor_puts_before_the_first_word_is_no_part_of_it() -> None:
    profile("web", "\ufeffs\r\n/d\r\nsh\r\n")
    assert arranged("@web") == ["s", "/d", "sh"]


def test_a_file_is_named_from_here_and_a_descriptor_is_none(project: Path) -> None:
    profile("web", "s\n/d\nsh\n")
    (project / "a").mkdir()
    os.chdir(project / "a")
    rest = ["s", "/d", "sh"]
    for words in (["--events", "-"], ["--events=-"], ["--events", "3"]):
        assert arranged(*words, "@web") == [*words, *rest]
    assert arranged("--events=x", "@web") == [f"--events={project}/a/x", *rest]
    files = ["--exclude-from", "3"]
    assert arranged(*files, "@web") == [files[0], f"{project}/a/3", *rest]


def test_the_nearest_counts(project: Path) -> None:
    profile("web", "far\n/d\nsh\n")
    profile("web", "near\n/d\nsh\n", where="a")
    os.chdir(project / "a")
    assert arranged("@web") == ["near", "/d", "sh"]


def test_one_that_is_not_there_names_those_that_are() -> None:
    profile("web", "s\n/d\nsh\n")
    with pytest.raises(Stop, match="no .file-replicator/wbe here .* there is @web"):
        arranged("@wbe")


def test_no_name_is_that_of_the_default() -> None:
    with pytest.raises(Stop, match="there is no .file-replicator/default here"):
        arranged("@")
    profile("default", "s\n/d\nsh\n")
    assert arranged("@") == ["s", "/d", "sh"]


@pytest.mark.parametrize(
    "text, why",
    [
        ("s\n/d\n", "needs SRC_DIR, DEST_PARENT_DIR and CONNECTION_COMMAND"),
        (
            "--excude\nx\ns\n/d\nsh\n",
            "unknown option '--excude'; did you mean --exclude",
        ),
        (
            "--exclude x\ns\n/d\nsh\n",
            "unknown option '--exclude x'; write a word a line",
        ),
    ],
)
def test_a_bad_one_is_named(text: str, why: str) -> None:
    profile("web", text)
    with pytest.raises(Stop, match=f"file-replicator/web'?:? {why}"):
        arranged("@web")


def test_nothing_else_may_stand_beside_it() -> None:
    profile("web", "s\n/d\nsh\n")
    with pytest.raises(Stop, match="for a directory of that name type ./@web"):
        arranged("@web", "/d", "sh")
    assert arranged("./@web", "/d", "sh") == ["./@web", "/d", "sh"]


def test_a_command_for_one_far_end_is_not_run_where_a_profile_has_many(
    project: Path,
) -> None:
    """Its --each was left out, and a directory called {} was filled."""
    profile("all", f"s\n{project}/{{}}\n--each\na\nb\n--\nsh\n")
    (project / "s").mkdir()
    done = run([REPLICATOR, "--run", "true", "@all"], cwd=project)
    assert done.returncode == command.USAGE
    assert b"--each and --run contradict each other" in done.stderr
    assert not (project / "{}").exists()


def test_none_is_found_where_the_current_directory_has_gone(project: Path) -> None:
    (project / "gone").mkdir()
    os.chdir(project / "gone")
    (project / "gone").rmdir()
    with pytest.raises(Stop, match="are missing, and there is no"):
        arranged()
    with pytest.raises(Stop, match="there is no .file-replicator/web here"):
        arranged("@web")


def test_a_fifo_is_not_waited_for(project: Path) -> None:
    profile("web", "")
    (project / ".file-replicator/web").unlink()
    os.mkfifo(project / ".file-replicator/web")
    with pytest.raises(Stop, match="is no file"):
        arranged("@web")


def test_one_that_others_could_have_written_is_refused(project: Path) -> None:
    profile("web", "s\n/d\nsh\n")
    (project / ".file-replicator").chmod(0o777)
    with pytest.raises(Stop, match="can be written by everybody"):
        arranged("@web")
    (project / ".file-replicator").chmod(0o755)
    if os.geteuid() == 0:
        os.chown(project / ".file-replicator/web", 12345, -1)
        with pytest.raises(Stop, match="belongs to user 12345"):
            arranged("@web")


def test_what_is_saved_comes_back(project: Path, place: Path) -> None:
    (project / "my src").mkdir()
    (project / "my src/f").write_text("x")
    words = ["--as", "app", "--once", "my src", str(place), "bash"]
    done = run([REPLICATOR, "--save", "web", *words], cwd=project)
    said = b"file-replicator: saved .file-replicator/web; start it by `file-replicator @web`\n"
    assert (done.returncode, done.stderr) == (0, said)
    assert not os.listdir(place)
    (project / "deep").mkdir()
    assert run([REPLICATOR, "@web"], cwd=project / "deep").returncode == 0
    assert os.listdir(place / "app") == ["f"]
    # By a name of several words, and in the directory of the profile that it is made of.
    done = run([REPLICATOR, "--save", "of all", "@web"], cwd=project / "deep")
    path = project / ".file-replicator/of all"
    said = f"saved '{path}'; start it by `file-replicator '@of all'`\n"
    assert done.stderr.decode() == f"file-replicator: {said}"
    assert path.read_text() == (project / ".file-replicator/web").read_text()


def test_what_was_saved_is_told_to_be_replaced(project: Path) -> None:
    (project / "src").mkdir()
    said = []
    for there in ("/d", "/d", "/e"):
        done = run([REPLICATOR, "--save", "w", "src", there, "sh"], cwd=project)
        said.append(done.stderr)
    assert said[0] == said[1]
    assert b"saved .file-replicator/w, in the place of other words; start" in said[2]


def test_a_word_that_has_no_line_is_not_saved(project: Path) -> None:
    (project / "src").mkdir()
    for word in ("", " x", "#x", "a\nb"):
        done = run(
            [REPLICATOR, "--save", "w", "src", "/d", "sh", "-c", word], cwd=project
        )
        assert done.returncode == command.USAGE and b"cannot save" in done.stderr
    assert not (project / ".file-replicator").exists()


@pytest.mark.parametrize("name", ["", "../x", "a\nb", "\033[8m"])
def test_what_is_no_name_is_saved_nowhere(name: str, project: Path) -> None:
    done = run([REPLICATOR, "--save", name, ".", "/dev/null", "sh"], cwd=project)
    assert done.returncode == command.USAGE
    assert b"a profile cannot be called" in done.stderr
    assert b"\033" not in done.stderr and done.stderr.count(b"\n") == 1
    assert not os.listdir(project)


def test_the_folder_is_not_copied(project: Path, place: Path) -> None:
    profile("default", f"--once\n--no-gitignore\n.\n{place}\nbash\n")
    (project / "f").write_text("x")
    assert run([REPLICATOR], cwd=project).returncode == 0
    assert os.listdir(place / project.name) == ["f"]


# --- help -----------------------------------------------------------------------------


def test_all_of_the_help_fits_a_terminal() -> None:
    assert max(map(len, (replicate.__doc__ or "").splitlines())) < 80


def test_the_short_help_is_one_screen_with_a_way_to_each_far_end() -> None:
    text = run([REPLICATOR, "-h"]).stdout.decode()
    assert len(text.splitlines()) < 24 and max(map(len, text.splitlines())) < 80
    for word in ("bash", "ssh", "docker", "kubectl", "--exclude", "--help", "@NAME"):
        assert word in text
    whole = run([REPLICATOR, "--help"]).stdout.decode().splitlines()
    assert len(whole) > 60
    options = text.partition("Options:")[2]
    assert set(options.splitlines()) <= {*whole, ""}


def test_help_is_given_whatever_else_is_typed() -> None:
    rows = (["--help", "x"], ["x", "y", "--help"], ["-h", "--once"], ["-nh", "x"])
    for words in rows:
        assert run([REPLICATOR, *words]).stdout.startswith(b"file-replicator: keep")


@pytest.mark.parametrize(
    "program, words, named",
    [
        ("file-replicator", ["-vv"], "-v"),
        ("file-replicator", ["--once", "-n", "--dry-run"], "--dry-run"),
        ("file-replicator", ["--hold", "1", "--hold=2"], "--hold"),
        ("fr-walk", ["--stdin", "--verbose", "--verbose"], "--verbose"),
    ],
)
def test_an_option_that_is_given_twice_is_named(
    program: str, words: list[str], named: str, place: Path
) -> None:
    """What was said to be expected was what had been typed."""
    places = [place, "/d", "sh"] if program == "file-replicator" else [place]
    done = run([ROOT / "bin" / program, *words, *places])
    said = f"{program}: {named} is given twice; see --help\n"
    assert (done.returncode, done.stderr.decode()) == (command.USAGE, said)
    # Those that may be are not.
    more = ["--exclude", "a", "--exclude", "b", "--exclude-from", "x"]
    done = run([ROOT / "bin" / program, *more, "--exclude-from=x", *places])
    assert b"cannot read 'x'" in done.stderr


@pytest.mark.parametrize(
    "words, said",
    [
        (["--keepalive", "soon"], "--keepalive takes a number, not 'soon'"),
        (["--hold", "-1"], "--hold takes 0 or more, not '-1'"),
        (["--connect-timeout", "0"], "--connect-timeout takes more than 0: no shell"),
    ],
)
def test_a_number_that_makes_no_sense_is_told(
    words: list[str], said: str, place: Path
) -> None:
    done = run([REPLICATOR, *words, place, "/d", "sh"])
    assert done.returncode == command.USAGE
    assert done.stderr.decode().startswith(f"file-replicator: {said}")
