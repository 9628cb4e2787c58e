"""Whatever is saved on the way (parts, known content), the copy is right."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import farends
import pytest
from farends import SLOWLINK, FarEnd, with_command
from lines import MOST, SOME, Line, alter, in_place, noise, save, text
from operations import exchange
from programs import run
from trees import plant, tree

CHANGES: dict[str, Callable[[bytes], bytes]] = {
    "appended": lambda old: old + b"one more line\n",
    "much appended": lambda old: old + noise(len(old) // 2, "much"),
    "put before": lambda old: b"a line put before\n" + old,
    "inserted": lambda old: old[: len(old) // 3] + b"INSERTED" + old[len(old) // 3 :],
    "overwritten": lambda old: old[:500] + b"x" * 14 + old[514:],
    "in many places": lambda old: b"".join(
        b"#" + old[at + 1 : at + 300] for at in range(0, len(old), 300)
    ),
    "cut out": lambda old: old[: len(old) // 4] + old[len(old) // 2 :],
    "cut short": lambda old: old[: len(old) - 333],
    "its front cut off": lambda old: old[777:],
    "halves swapped": lambda old: old[len(old) // 2 :] + old[: len(old) // 2],
    "twice over": lambda old: old + old,
    "all alike": lambda old: b"\0" * len(old),
    "one byte of what is all alike": lambda old: b"\0" * 999 + b"1" + b"\0" * 3000,
    "emptied": lambda old: b"",
    "filled again": lambda old: noise(5000, "again"),
    "one byte": lambda old: b"1",
    "all other": lambda old: noise(3000, "other"),
    "as at first": lambda old: text(5000),
}


@pytest.mark.parametrize("name", ["bash+gnu", "dash+bsdtar", "mksh+toybox", "chroot"])
def test_however_a_file_changes_it_arrives(name: str, line: Line) -> None:
    sizes = {"small": 100, "some": 5000, "it's *odd*\n": 9_001, "-rf": 4096}
    sizes.update({"in place": 5000, "larger": 9_001})
    for file, size in sizes.items():
        make = noise if "odd" in file else text
        plant(line.source, {f"d/{file}": make(size)})
    (line.source / "d/small").chmod(0o755)
    with line.watching() as program:
        for what, change in CHANGES.items():
            for number, file in enumerate(sizes):
                path = line.source / "d" / file
                how = save if number % 2 else in_place
                how(path, change(path.read_bytes()))
            try:
                line.settle(program)
            except AssertionError as error:
                raise AssertionError(f"after {what}: {error}") from None


@MOST
def test_what_is_touched_or_made_anew_is_right(name: str, line: Line) -> None:
    """Times and modes follow, also where the content is known."""
    for number in range(12):
        plant(line.source, {f"d{number % 3}/f{number}": text(50 * number, number)})
    with line.watching() as program:
        for path in line.source.rglob("f*"):
            path.touch()
        line.settle(program)
        for path in line.source.rglob("f*"):
            path.chmod(0o755)
            os.utime(path, ns=(1, 1_234_567_890_123_456_789))
        line.settle(program)
        shutil.copytree(line.source / "d1", line.source / "copied")
        line.settle(program)
        shutil.copytree(line.source / "d2", line.source / "copied/deep/er")
        save(line.source / "copied/f1", b"and one of them edited at once")
        line.settle(program)
        for path in line.source.rglob("f*"):  # as git switches, and switches back
            content = path.read_bytes()
            path.unlink()
            path.write_bytes(content[::-1])
        line.settle(program)
        for path in line.source.rglob("f*"):
            content = path.read_bytes()
            path.unlink()
            path.write_bytes(content[::-1])
        line.settle(program)


@MOST
def test_a_source_made_anew_between_two_runs_is_right(name: str, line: Line) -> None:
    """A fresh clone, and one restored with its times: some of it is other than before."""
    for number in range(12):
        plant(line.source, {f"d{number % 3}/f{number}": text(90 * number, number)})
    line.once()
    for copy in ("-r", "-a"):
        beside = line.source.with_name("beside")
        subprocess.run(["cp", copy, line.source, beside], check=True)
        shutil.rmtree(line.source)
        beside.rename(line.source)
        other = line.source / "d1/f4"
        status = other.stat()
        other.write_bytes(noise(status.st_size, copy))  # of the same size and time
        os.utime(other, ns=(status.st_atime_ns, status.st_mtime_ns))
        line.once()


@SOME
def test_a_dry_run_says_the_same_where_all_is_tiny(name: str, line: Line) -> None:
    """It began with the pieces of a file, of which none was ever sent, and did not end."""
    plant(line.source, {"a": noise(5000), "d/b": text(700), "same": "1"})
    plant(line.there, {"d/b": text(700, 1), "same": "1"})
    before = tree(line.there)
    for options in ([], ["--checksum"], ["--mirror", "--mirror"]):
        done = run(line.words("--dry-run", *options), env=line.environment())
        assert b"would send 'a'," in done.stdout, done
        assert tree(line.there) == before


def test_of_many_directories_the_digests_are_made_at_once(
    far_end: Callable[[str], FarEnd], place: Path
) -> None:
    """A process for each directory would take longer than the way there and back."""
    line, calls = counting(far_end("bash+gnu"), place)
    for number in range(60):
        plant(line.source, {f"d{number}/f{number}": text(500, number)})
    line.once()
    for path in line.source.rglob("f*"):
        path.touch()
    calls.unlink()
    line.once()
    assert len(calls.read_bytes()) < 15  # one for each batch, of twelve files


def test_of_many_files_that_change_in_parts_the_digests_are_made_at_once(
    far_end: Callable[[str], FarEnd], place: Path
) -> None:
    line, calls = counting(far_end("bash+gnu"), place)
    for number in range(60):
        plant(line.source, {f"d/f{number}": text(2000, number)})
    with line.watching() as program:
        for _ in range(2):  # what they are made of is known the second time
            calls.write_bytes(b"")
            beside = line.source.with_name("beside")
            shutil.copytree(line.source / "d", beside)
            for path in beside.iterdir():
                path.write_bytes(path.read_bytes() + b"one more line\n")
            exchange(os.fsencode(beside), os.fsencode(line.source / "d"))
            shutil.rmtree(beside)
            line.settle(program)
    assert len(calls.read_bytes()) < 20


def counting(far: FarEnd, place: Path) -> tuple[Line, Path]:
    """A far end that notes in a file each time that digests are made there."""
    calls = place / "calls"
    digest = place / "bin/sha1sum"
    script = f'#!/bin/sh\necho >>{calls}\nexec /usr/bin/sha1sum "$@"\n'
    plant(digest.parent, {"sha1sum": script})
    digest.chmod(0o755)
    tools = f"PATH={digest.parent}:{os.environ['PATH']}"
    command = ["/usr/bin/env", tools, "/bin/bash"]
    return Line(with_command(far, command), place), calls


# --- a far end that is not as remembered -------------------------------------------------


LIES = pytest.mark.parametrize("lie", [False, True], ids=["plainly", "size, time lie"])


@LIES
@MOST
def test_what_was_altered_over_there_is_not_built_upon(
    name: str, lie: bool, line: Line
) -> None:
    for file in ("appended", "inserted", "moved", "copied", "touched", "removed"):
        plant(line.source, {file: text(4000, file)})
    plant(line.source, {"dir/a": text(3000, 1), "dir/b": text(300, 2)})
    with line.watching() as program:
        line.settle(program)
        for file in ("appended", "inserted", "moved", "copied", "touched", "dir/a"):
            alter(line.there / file, b"altered over there " * 50, lie)
        (line.there / "removed").unlink()
        with open(line.source / "appended", "ab") as grown:
            grown.write(b"one more line\n")
        old = (line.source / "inserted").read_bytes()
        save(line.source / "inserted", old[:999] + b"INSERTED" + old[999:])
        (line.source / "moved").rename(line.source / "here now")
        shutil.copy(line.source / "copied", line.source / "copy")
        with open(line.source / "copied", "ab") as grown:
            grown.write(b"and this one changed")
        (line.source / "touched").touch()
        with open(line.source / "removed", "ab") as grown:
            grown.write(b"over there it has gone")
        (line.source / "dir").rename(line.source / "moved dir")
        line.settle(program)


@SOME
def test_a_link_put_in_a_files_place_over_there_is_not_built_upon(
    name: str, line: Line, tmp_path: Path
) -> None:
    """Nor followed: neither is the file it leads to read, nor written, nor moved."""
    outside = line.far.here / "outside"
    for file in ("appended", "moved", "touched", "dir/f", "under/f"):
        plant(line.source, {file: text(2000, file)})
    with line.watching() as program:
        line.settle(program)
        plant(outside, {"f": text(2000, "appended"), "dir/f": text(2000, "dir/f")})
        before = tree(outside)
        for file in ("appended", "moved", "touched"):
            (line.there / file).unlink()
            (line.there / file).symlink_to("../outside/f")
        for directory in ("dir", "under"):
            shutil.rmtree(line.there / directory)
            (line.there / directory).symlink_to("../outside/dir")
        with open(line.source / "appended", "ab") as grown:
            grown.write(b"one more line\n")
        (line.source / "moved").rename(line.source / "here now")
        (line.source / "touched").touch()
        with open(line.source / "under/f", "ab") as grown:
            grown.write(b"below what is a link over there\n")
        (line.source / "dir").rename(line.source / "moved dir")
        program.wait_for(lambda: (line.there / "moved dir/f").exists())
        with contextlib.suppress(FileNotFoundError):
            (line.there / "dir").unlink()  # a link that was made there may stay
        line.settle(program)
        assert tree(outside) == before


DIGESTS = "b2sum cksum md5sum openssl sha1sum sha224sum sha256sum sha384sum sha512sum"
DIGESTS += " shasum sum busybox toybox python3"
STAND_INS = {
    "missing": "",
    "exits with 1": "exit 1",
    "silent": "[ $# -gt 0 ] || cat >/dev/null",
    "nonsense": "echo 'segmentation fault, almost'; printf '\\377\\n%s' '-'",
    "always the same": "echo da39a3ee5e6b4b0d3255bfef95601890afd80709 0 -",
    "says yes to all": 'cat >/dev/null; for f; do echo "$f: OK"; done',
    "killed": "kill -9 $$",
}


@pytest.mark.parametrize("stand_in", STAND_INS)
def test_without_a_true_digest_all_the_same_all_is_right(
    stand_in: str, far_end: Callable[[str], FarEnd], place: Path
) -> None:
    tools = Path(farends.without_dash_and_perl(place / "tools"))
    for tool in DIGESTS.split():
        (tools / tool).unlink(missing_ok=True)
        if STAND_INS[stand_in] and tool not in ("busybox", "toybox", "python3"):
            (tools / tool).write_text(f"#!/bin/sh\n{STAND_INS[stand_in]}\n")
            (tools / tool).chmod(0o755)
    command = ["/usr/bin/env", f"PATH={tools}", "/bin/bash"]
    line = Line(with_command(far_end("bash+gnu"), command), place)
    for file in ("a", "b", "c", "d/e"):
        plant(line.source, {file: text(3000, file)})
    with line.watching() as program:
        for what in ("appended", "inserted", "in many places", "halves swapped"):
            alter(line.there / "c", b"altered", lie=True)
            for file in ("a", "b", "c"):
                path = line.source / file
                save(path, CHANGES[what](path.read_bytes()))
            line.settle(program)
        alter(line.there / "a", b"altered", lie=True)
        (line.source / "a").rename(line.source / "moved")
        (line.source / "b").touch()
        shutil.copytree(line.source / "d", line.source / "copied")
        line.settle(program)
    plant(line.source, {"a": text(200)})
    line.once()


SLOW_MD5SUM = '[ "$*" = "" ] || sleep 4; exec /usr/bin/md5sum "$@"'


def test_digest_tools_that_hang_or_are_slow_lose_no_connection(
    far_end: Callable[[str], FarEnd], place: Path
) -> None:
    """It was lost and had again for ever, as over there nothing was heard of meanwhile."""
    tools = Path(farends.without_dash_and_perl(place / "tools"))
    for tool, body in (("sha1sum", "exec sleep 1000"), ("md5sum", SLOW_MD5SUM)):
        (tools / tool).unlink()
        (tools / tool).write_text(f"#!/bin/sh\n{body}\n")
        (tools / tool).chmod(0o755)
    (tools / "shasum").unlink(missing_ok=True)
    command = ["/usr/bin/env", f"PATH={tools}", "/bin/bash"]
    line = Line(with_command(far_end("bash+gnu"), command), place)
    plant(line.source, {"a": text(3000), "b": text(50)})
    with line.watching("--keepalive", "1") as program:
        with open(line.source / "a", "ab") as grown:
            grown.write(b"one more line\n")
        line.settle(program)
        assert b"lost" not in program.errors, bytes(program.errors).decode()
        assert b"the far end has md5sum" in program.errors


# The link dies without a word where this file is looked at, each time.
DIES_AT = """#!/bin/sh
case "$* $(readlink /proc/self/fd/0)" in *'/hangs at'*) kill -STOP "$(cat {link})" ;; esac
exec /usr/bin/sha1sum "$@"
"""


@pytest.mark.parametrize("what", ["touched", "moved"])
def test_a_file_at_which_the_far_end_falls_silent_goes_whole(
    what: str, far_end: Callable[[str], FarEnd], place: Path
) -> None:
    """The connection was lost and had again for ever, as each met the same file."""
    tools, link = Path(farends.without_dash_and_perl(place / "tools")), place / "link"
    (tools / "sha1sum").unlink()
    (tools / "sha1sum").write_text(DIES_AT.format(link=link))
    (tools / "sha1sum").chmod(0o755)
    slow = [sys.executable, str(SLOWLINK), "0", "0", "--"]
    start = f'echo $$ >{link}; PATH={tools}; export PATH; exec "$@"'
    command = ["/bin/sh", "-c", start, "sh", *slow, "/bin/bash"]
    line = Line(with_command(far_end("bash+gnu"), command), place)
    plant(line.source, {"hangs at": text(3000), "d/e": text(300)})
    with line.watching("--keepalive", "1") as program:
        save(line.source / "hangs at", text(3000, 2))
        line.settle(program)  # what is there is known now
        if what == "touched":
            (line.source / "hangs at").touch()
        else:
            (line.source / "hangs at").rename(line.source / "d/hangs at")
        program.says("the connection was lost", 30)
        line.settle_whatever_is_lost()
        assert program.errors.count(b'"is": "lost"') == 1


@pytest.mark.parametrize("tool", ["touch", "wc"])
def test_where_what_puts_files_together_is_missing_they_go_whole(
    tool: str, far_end: Callable[[str], FarEnd], place: Path
) -> None:
    """A large file went in pieces again and again, and never arrived."""
    tools = Path(farends.without_dash_and_perl(place / "tools"))
    (tools / tool).unlink()
    command = ["/usr/bin/env", f"PATH={tools}", "/bin/bash"]
    line = Line(with_command(far_end("bash+gnu"), command), place)
    plant(line.source, {"a": text(3000), "d/e": text(300)})
    with line.watching() as program:
        save(line.source / "a", CHANGES["inserted"](text(3000)))
        (line.source / "d").rename(line.source / "e")
        line.settle(program)


# Somebody writes to a file as it is about to be copied.
WRITTEN_TO = """#!/bin/sh
case "$*" in *.in/*) [ ! -e {once} ] || {{ rm {once}; echo altered >"$1"; }} ;; esac
exec /usr/bin/cp "$@"
"""


@pytest.mark.parametrize("old, new", [("a", "b"), ("d", "e")])
def test_a_copy_is_shown_right_and_not_what_it_was_made_of(
    old: str, new: str, far_end: Callable[[str], FarEnd], place: Path
) -> None:
    """It had what was written to the other file meanwhile, and the right time."""
    tools, once = Path(farends.without_dash_and_perl(place / "tools")), place / "once"
    (tools / "cp").unlink()
    (tools / "cp").write_text(WRITTEN_TO.format(once=once))
    (tools / "cp").chmod(0o755)
    command = ["/usr/bin/env", f"PATH={tools}", "/bin/bash"]
    line = Line(with_command(far_end("bash+gnu"), command), place)
    plant(line.source, {"a": text(700), "d/x": text(300, 1), "d/y": text(300, 2)})
    with line.watching() as program:
        once.touch()
        if old == "a":
            shutil.copy(line.source / old, line.source / new)
        else:
            shutil.copytree(line.source / old, line.source / "~")
            (line.source / "~").rename(line.source / new)
        line.settle_all(program, "a" if old == "a" else "d/*")
        assert not once.exists()


# Whoever cleans up takes what is made as it is about to be put into place.
CLEANED_ONCE = """#!/bin/sh
/usr/bin/mv "$@" || exit
for to; do :; done
case "$*" in *.in/*) [ ! -e {once} ] || rm -f {once} "$to"/* ;; esac
"""


def test_what_was_made_and_is_gone_arrives_all_the_same(
    far_end: Callable[[str], FarEnd], place: Path
) -> None:
    """It was taken for one that could not be made, which is told before; nothing was, here."""
    tools, once = Path(farends.without_dash_and_perl(place / "tools")), place / "once"
    (tools / "mv").unlink()
    (tools / "mv").write_text(CLEANED_ONCE.format(once=once))
    (tools / "mv").chmod(0o755)
    command = ["/usr/bin/env", f"PATH={tools}", "/bin/bash"]
    line = Line(with_command(far_end("bash+gnu"), command), place)
    plant(line.source, {"old": text(700), "d/e": text(300)})
    with line.watching() as program:
        once.touch()
        shutil.copy(line.source / "old", place / "copy")
        (place / "copy").rename(line.source / "d/copy")  # it is never seen half written
        line.settle_whatever_is_lost()
        assert not once.exists()


# Not before somebody waits for what it does. (rm also clears up what nobody waits for.)
KILLED_TWICE = """#!/bin/sh
case {tool}$* in rm*gone* | [!r]* | rmdir*) ;; *) exec /usr/bin/{tool} "$@" ;; esac
for f in {lives}/*; do
  [ ! -e "$f" ] || {{ /usr/bin/rm "$f"; sleep 1; kill -KILL $$; }}
done
exec /usr/bin/{tool} "$@"
"""


@pytest.mark.parametrize("tool", ["cat", "mv", "rm", "rmdir"])
def test_a_tool_that_is_killed_makes_no_path_fail(
    tool: str, far_end: Callable[[str], FarEnd], place: Path
) -> None:
    """--wait said that a path could not be written, which was tried again and arrived."""
    tools, lives = Path(farends.without_dash_and_perl(place / "tools")), place / "lives"
    lives.mkdir()
    (tools / tool).unlink()
    (tools / tool).write_text(KILLED_TWICE.format(lives=lives, tool=tool))
    (tools / tool).chmod(0o755)
    command = ["/usr/bin/env", f"PATH={tools}", "/bin/bash"]
    line = Line(with_command(far_end("bash+gnu"), command), place)
    files = {"gone": "1", "small": "1", "large": noise(9_000), "d/f": "1"}
    plant(line.source, files)
    with line.watching("--no-compress") as program:  # which takes a cat, too
        save(line.source / "large", noise(9_000, 2))
        line.settle(program)  # what is there is known now
        for life in "12":
            (lives / life).touch()
        if tool == "rm":
            (line.source / "gone").unlink()
        elif tool == "rmdir":
            shutil.rmtree(line.source / "d")
        elif tool == "mv":
            save(line.source / "small", b"2")
        else:
            save(line.source / "large", noise(9_000, 1))
        line.settle_whatever_is_lost()
        assert not os.listdir(lives)
        assert b"one of its programs was killed" in program.errors
        assert b"made there" not in program.errors


@pytest.mark.parametrize("broken", [False, True])
def test_many_files_that_are_made_take_few_processes(
    broken: bool, far_end: Callable[[str], FarEnd], place: Path
) -> None:
    """A process or two for each part, and some for each directory, took longer than all the rest:
    100 files half a second."""
    called, bin_there = place / "called", place / "bin"
    line = Line(far_end("dash+gnu"), place)
    tools = next(word for word in line.far.command if word.startswith("PATH="))
    calls = {
        "dd": "if=./*) echo dd",
        "mv": '*" ./d"?/) echo mv',
    }
    if broken:
        calls["perl"] = '*"split /,/"*) exit 1'
    bin_there.mkdir()
    for name, case in calls.items():
        program = shutil.which(name, path=tools[5:])
        note = f"case $* in {case} >>{called} ;; esac"
        (bin_there / name).write_text(f'#!/bin/sh\n{note}\nexec {program} "$@"\n')
        (bin_there / name).chmod(0o755)
    command = [w.replace("PATH=", f"PATH={bin_there}:") for w in line.far.command]
    line.far = with_command(line.far, command)
    paths = [f"d{number % 3}/{number}" for number in range(9)]
    plant(line.source, {path: noise(5000, path) for path in paths})
    with line.watching() as program:
        for path in paths:
            content = noise(5000, path)
            save(line.source / path, content[:2000] + b"INSERTED" + content[2000:])
        line.settle(program)
        save(
            line.source / path,
            b"#".join(content[at : at + 499] for at in range(0, 5000, 500)),
        )
        line.settle(program)
        assert "in parts" in program.errors.decode()
    said = called.read_text().split() if called.exists() else []
    assert ("dd" in said) == broken
    assert "mv" not in said
