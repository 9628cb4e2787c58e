"""What the receiver relies on, asked of the shells, tars and tools themselves.

If one of these fails, a far end has changed: the receiver's essay needs a correction first
and its code then.
"""

from __future__ import annotations

import contextlib
import io
import os
import shutil
import subprocess
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from farends import (
    SHELLS_AND_TARS,
    SUB_SECOND_TARS,
    SYSTEM_PATH,
    TARS,
    Docker,
    FarEnd,
    Network,
    Sshd,
    as_user,
    ask,
    local_shell,
    mounted,
    remount,
    ssh_across,
    toolbox,
    without_rights,
)
from programs import ROOT, read_until, run, wait_for

RECORD = 10240
LOCAL = pytest.mark.parametrize(
    "shell, tar", SHELLS_AND_TARS, ids=["+".join(pair) for pair in SHELLS_AND_TARS]
)
TOOLS = pytest.mark.parametrize("tar", TARS)


class Shell:
    """A shell that is spoken to: written to a piece at a time, read up to a word."""

    def __init__(self, command: list[str]) -> None:
        self.process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )

    def write(self, data: bytes) -> None:
        assert self.process.stdin
        self.process.stdin.write(data)
        self.process.stdin.flush()

    def until(self, word: bytes) -> bytes:
        assert self.process.stdout
        return read_until(self.process.stdout.fileno(), word)

    def rest(self) -> bytes:
        """Close the shell's input; what it prints up to its end."""
        out, _ = self.process.communicate(timeout=20)
        return out


@contextlib.contextmanager
def speaking(command: list[str]) -> Iterator[Shell]:
    shell = Shell(command)
    try:
        yield shell
    finally:
        shell.process.kill()
        shell.process.communicate()


def archive(names: dict[str, bytes], **changes: object) -> bytes:
    """A tar archive, padded to whole records."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.GNU_FORMAT) as tar:
        for name, data in names.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            for key, value in changes.items():
                setattr(member, key, value)
            tar.addfile(member, io.BytesIO(data))
    return out.getvalue()


# --- each far end ---------------------------------------------------------------------


def test_a_far_end_runs_what_it_is_fed(any_far_end: FarEnd) -> None:
    far = any_far_end
    script = f"cd {far.parent} && echo content >file && echo done; exit\n"
    assert "done\n" in ask(far.command, script)
    assert (far.here / "file").read_text() == "content\n"


def test_a_far_end_reads_nothing_ahead_once_it_has_answered(
    any_far_end: FarEnd,
) -> None:
    """dash and busybox sh swallow what follows the script, so the sender waits."""
    with speaking(any_far_end.command) as shell:
        shell.write(b"{\necho ready\nread -r one\nread -r two\n")
        shell.write(b'printf \'<%s><%s>\\n\' "$one" "$two"\ncat\nexit\n}\n')
        shell.until(b"ready\n")
        payload = bytes(range(256)) * 100
        shell.write(b"a\\b  c\nsecond\n" + payload)
        assert shell.rest().endswith(b"<a\\b  c><second>\n" + payload)


@pytest.mark.parametrize("shell", ["dash", "busybox"])
def test_these_shells_do_read_ahead(shell: str, base: Path) -> None:
    far = local_shell(shell, "busybox", base)
    assert ask(far.command, "{ cat; exit; }\nbytes for cat\n") == ""


def test_bash_leaves_the_rest_of_its_script_to_dash(base: Path) -> None:
    """It reads one byte at a time, so what stands behind a line is there for another."""
    far = local_shell("bash-dash", "gnu", base)
    script = 'set -- a \'b c\'; exec dash -s -- "$@"\nps -o comm= -p $$; echo "<$2>"\n'
    assert ask(far.command, script) == "dash\n<b c>\n"
    assert ask(local_shell("bash", "gnu", base).command, "type dash || :\n") == ""


def test_sudo_changes_the_user(far_end: Callable[[str], FarEnd]) -> None:
    far = far_end("sudo")
    ask(far.command, f"cd {far.parent} && touch file\n")
    assert far.owner and (far.here / "file").stat().st_uid == far.owner[0] != 0


def test_the_chatty_sshd_talks_before_the_shell_does(
    far_end: Callable[[str], FarEnd],
) -> None:
    far = far_end("ssh-chatty-user")
    done = subprocess.run(far.command, input=b"echo mine; id -u\n", capture_output=True)
    assert done.stdout.startswith(b"You have mail.\na last line without its end")
    assert done.stdout.endswith(b"mine\n%d\n" % far.owner[0] if far.owner else b"\n")
    assert b"for testing only" in done.stderr and b"stty" in done.stderr


def test_the_chroot_holds_nothing_but_busybox(
    far_end: Callable[[str], FarEnd],
) -> None:
    out = ask(
        far_end("chroot").command, "ls -l /bin | grep -v busybox; ls /usr /lib\n:\n"
    )
    assert out.startswith("total") and out.count("\n") == 1


def test_a_slow_link_is_slow_and_exact(sshd: Sshd, tmp_path: Path) -> None:
    import time

    payload = os.urandom(300_000)
    start = time.monotonic()
    done = subprocess.run(
        [*sshd.slow_ssh(50, 1_000_000), "cat"], input=payload, capture_output=True
    )
    assert done.stdout == payload
    # ssh alone needs several turns of 100 ms before it can send anything.
    assert time.monotonic() - start > 0.7


def test_a_cut_cable_tells_nobody(network: Network, place: Path) -> None:
    with ssh_across(network, place / "sshd") as far:
        with speaking(far.command) as shell:
            shell.write(b"echo first\n")
            shell.until(b"first\n")
            network.cable("down")
            try:
                shell.write(b"echo second\n")
                with pytest.raises(AssertionError, match="no b'second"):
                    assert shell.process.stdout
                    read_until(shell.process.stdout.fileno(), b"second\n", timeout=0.5)
                assert shell.process.poll() is None
            finally:
                network.cable("up")
            shell.until(b"second\n")


def test_a_container_comes_back_after_a_restart(docker: Docker) -> None:
    with docker.container("restarted") as far:
        with speaking(far.command) as shell:
            shell.write(b"echo first\n")
            shell.until(b"first\n")
            docker.call("restart", "-t", "0", "restarted")
            assert wait_for(lambda: shell.process.poll() is not None)
        assert ask(far.command, "echo again\n") == "again\n"


def test_file_systems_can_be_small_read_only_and_noexec(place: Path) -> None:
    with mounted(place / "small", "size=64k") as small:
        with pytest.raises(OSError, match="No space left"):
            (small / "big").write_bytes(b"x" * 100_000)
        remount(small, "ro")
        with pytest.raises(OSError, match="Read-only file system"):
            (small / "new").touch()
    with mounted(place / "noexec", "size=64k,noexec") as noexec:
        (noexec / "script").write_text("#!/bin/sh\n")
        (noexec / "script").chmod(0o755)
        with pytest.raises(PermissionError):
            subprocess.run([noexec / "script"], check=False)
    assert not (place / "small/big").exists()


def test_root_without_rights_is_stopped_by_permission_bits(place: Path) -> None:
    (place / "secret").touch(mode=0o000)
    assert subprocess.call([*without_rights(), "test", "-r", place / "secret"]) == 1


def test_an_ordinary_user_owns_nothing_here(place: Path, user) -> None:  # type: ignore[no-untyped-def]
    if user.pw_uid == os.geteuid():
        pytest.skip("needs root: run the tests with sudo, or .ci/run in a container")
    assert subprocess.call([*as_user(user), "test", "-w", place]) == 1


# --- what tar does --------------------------------------------------------------------


def test_gnu_tar_stops_at_its_record_with_the_pipe_held_open(base: Path) -> None:
    far = local_shell("bash", "gnu", base).fresh()
    data = archive({"f": b"data"})
    assert len(data) == RECORD
    with speaking(far.command) as shell:
        shell.write(
            f"{{ cd {far.parent}; echo ready; tar -xf -; echo $?; cat; exit; }}\n".encode()
        )
        shell.until(b"ready\n")
        shell.write(data + b"what follows")
        shell.until(b"0\nwhat follows")


@pytest.mark.parametrize("tar", ["busybox", "bsdtar"])
def test_other_tars_read_on_to_the_end(tar: str, base: Path) -> None:
    far = local_shell("bash", tar, base).fresh()
    with speaking(far.command) as shell:
        shell.write(
            f"{{ cd {far.parent}; echo ready; tar -xf -; echo $?; cat; exit; }}\n".encode()
        )
        shell.until(b"ready\n")
        shell.write(archive({"f": b"data"}) + b"what follows")
        assert b"what follows" not in shell.rest()
    assert (far.here / "f").read_bytes() == b"data"


@LOCAL
def test_counted_records_fit_every_tar(shell: str, tar: str, base: Path) -> None:
    """However the bytes arrive: with dd iflag=fullblock not one too many is taken."""
    far = local_shell(shell, tar, base).fresh()
    data = archive({"a": b"1" * 3000, "b": b"2" * 20_000, "c": b"3"})
    records = len(data) // RECORD
    with speaking(far.command) as there:
        there.write(f"{{ cd {far.parent}; echo ready\n".encode())
        there.write(
            f"dd bs=10240 count={records} iflag=fullblock 2>/dev/null | tar -xf -\n".encode()
        )
        there.write(b"echo $?; cat; exit; }\n")
        there.until(b"ready\n")
        for start in range(0, len(data), 777):
            there.write(data[start : start + 777])
        there.write(b"what follows")
        there.until(b"0\nwhat follows")
    assert (far.here / "b").read_bytes() == b"2" * 20_000


@TOOLS
def test_an_archive_cut_between_members_passes_for_whole(tar: str, base: Path) -> None:
    """So status 0 is not enough: the last member must be there too."""
    far = local_shell("bash", tar, base).fresh()
    whole = archive({"a": b"1", "b": b"2"})
    (far.here / "cut.tar").write_bytes(whole[:1024])
    out = ask(far.command, f"cd {far.parent}; tar -xf - <cut.tar; echo $?; ls\n")
    assert out == "0\na\ncut.tar\n"


@TOOLS
def test_an_archive_cut_in_a_member_fails(tar: str, base: Path) -> None:
    far = local_shell("bash", tar, base).fresh()
    (far.here / "cut.tar").write_bytes(archive({"a": b"1" * 5000})[:2000])
    out = ask(
        far.command, f"cd {far.parent}; tar -xf - <cut.tar 2>/dev/null; echo $?\n"
    )
    assert out != "0\n"


@TOOLS
def test_permission_bits_arrive_whatever_the_umask(tar: str, base: Path) -> None:
    far = local_shell("dash", tar, base).fresh()
    (far.here / "a.tar").write_bytes(archive({"f": b""}, mode=0o666))
    ask(far.command, f"cd {far.parent}; umask 0; tar -xpof - <a.tar\n")
    assert (far.here / "f").stat().st_mode & 0o7777 == 0o666


@TOOLS
def test_which_tars_keep_the_part_below_a_second(tar: str, base: Path) -> None:
    """A pax header with nothing but mtime; all four read names from the GNU header."""
    far = local_shell("bash", tar, base).fresh()
    name = b"n\xff" * 60
    record = b"30 mtime=1600000000.123456789\n"
    assert len(record) == 30
    plain = archive({"f": b"data"}, mtime=1_600_000_000)
    member = tarfile.TarInfo(os.fsdecode(name))
    member.size, member.mtime = 4, 1_600_000_000
    head = member.tobuf(tarfile.GNU_FORMAT, "utf-8", "surrogateescape")
    extended = tarfile.TarInfo("x")
    extended.type, extended.size = b"x", len(record)
    data = extended.tobuf(tarfile.USTAR_FORMAT) + record.ljust(512, b"\0")
    data += head + b"data".ljust(512, b"\0") + plain[1024:]
    (far.here / "a.tar").write_bytes(data)
    ask(far.command, f"cd {far.parent}; tar -xpof - <a.tar\n")
    status = os.stat(os.path.join(os.fsencode(far.here), name))
    below = 123_456_789 if tar in SUB_SECOND_TARS else 0
    assert status.st_mtime_ns == 1_600_000_000 * 10**9 + below


# --- what the other tools do ----------------------------------------------------------


@TOOLS
def test_mv_into_a_directory_replaces_a_symlink_and_follows_none(
    tar: str, base: Path
) -> None:
    far = local_shell("bash", tar, base).fresh()
    for directory in ("stage", "dest", "elsewhere"):
        (far.here / directory).mkdir()
    for name in ("file", "to-directory", "-rf", "a b\n*"):
        (far.here / "stage" / name).write_text("new")
    (far.here / "dest/file").write_text("old")
    (far.here / "dest/file").chmod(0o400)
    (far.here / "dest/to-directory").symlink_to("../elsewhere")
    held = (far.here / "dest/file").open()
    ask(far.command, f"cd {far.parent}; mv -f stage/* dest/\n")
    for name in ("file", "to-directory", "-rf", "a b\n*"):
        path = far.here / "dest" / name
        assert path.read_text() == "new" and not path.is_symlink()
    assert os.listdir(far.here / "elsewhere") == []
    with held:
        assert held.read() == "old"


@TOOLS
def test_a_listing_can_be_had_in_one_of_two_forms(tar: str, base: Path) -> None:
    far = local_shell("bash", tar, base).fresh()
    (far.here / "f").write_text("1234")
    (far.here / "f").chmod(0o640)
    os.utime(far.here / "f", ns=(0, 1_600_000_000_123_456_789))
    (far.here / "l").symlink_to("a target")
    printf = f"cd {far.parent}; find . -mindepth 1 -printf '%y %m %s %T@ %p>%l|'\n"
    stat = f"cd {far.parent}; find . ! -name . -exec stat -c '%f %s %Y %n' {{}} +\n"
    found = subprocess.run(far.command, input=printf.encode(), capture_output=True)
    if tar == "busybox":  # Debian's is built without -printf, as Alpine's is
        assert found.returncode != 0
    else:
        rows = set(found.stdout.decode().split("|"))
        assert "f 640 4 1600000000.1234567890 ./f>" in rows
        assert {row for row in rows if row.endswith("./l>a target")}
    rows = set(ask(far.command, stat).splitlines())
    assert "81a0 4 1600000000 ./f" in rows
    assert {row for row in rows if row.startswith("a1ff 8 ")}


@TOOLS
def test_dd_tells_whether_it_knows_fullblock(tar: str, base: Path) -> None:
    far = local_shell("bash", tar, base)
    probe = "dd if=/dev/null bs=1 count=1 iflag=fullblock 2>/dev/null && echo yes\n"
    assert ask(far.command, probe) == "yes\n"


def test_busybox_sh_takes_its_own_tools_whatever_path_says(base: Path) -> None:
    far = local_shell("busybox", "busybox", base)
    path = toolbox("bsdtar", base / "tools-bsdtar")
    assert path != SYSTEM_PATH
    out = ask(far.command, f"PATH={path}; tar --help 2>&1 | head -n 1\n")
    assert out.startswith("BusyBox")


def test_the_far_ends_scripts_pass_shellcheck() -> None:
    scripts = sorted((ROOT / "filerep").rglob("*.sh"))
    if not shutil.which("shellcheck"):
        pytest.skip("needs shellcheck: apt-get install shellcheck")
    done = subprocess.run(["shellcheck", *scripts], capture_output=True, text=True)
    assert scripts and done.returncode == 0, done.stdout


# --- what tells of work ---------------------------------------------------------------


@pytest.mark.parametrize("shell", ["bash", "dash", "busybox", "mksh", "zsh", "ksh93"])
def test_what_tells_of_work_ends_though_it_has_only_begun(
    shell: str, base: Path
) -> None:
    text = (ROOT / "filerep/farend/scripts/receiver.sh").read_text()
    parts = text[text.index("stop() {") : text.index("# mkdir -m would")]
    script = f"""null=/dev/null worker=''
say() {{ :; }}
leave() {{ exit 1; }}
trap leave HUP INT TERM PIPE
{parts}
i=0
while [ $i -lt 200 ]; do working; rest; i=$((i + 1)); done
echo done
"""
    command = local_shell(shell, "gnu" if shell != "busybox" else "busybox", base)
    done = run(command.command, script.encode(), timeout=60)
    assert done.stdout == b"done\n", done.stderr
