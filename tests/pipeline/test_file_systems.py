"""Far ends on file systems that are not like ext4."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import struct
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Optional

import farends
import pytest
from farends import FarEnd, local_shell, with_command
from lines import noise, slow
from programs import environment, run, running
from slowlink import counts

ONCE = "--no-replicate-on-change"
# chmod is refused, as on file systems that have no modes.
NO_CHMOD = """
#include <errno.h>
#include <sys/types.h>
int chmod(const char *p, mode_t m) { errno = EPERM; return -1; }
int fchmod(int f, mode_t m) { errno = EPERM; return -1; }
int fchmodat(int d, const char *p, mode_t m, int f) { errno = EPERM; return -1; }
"""
# And directories have the mode that FAT gives them.
ONE_MODE = """
#define _GNU_SOURCE
#include <fcntl.h>
#include <sys/syscall.h>
#include <unistd.h>
int mkdirat(int d, const char *p, mode_t m) { return syscall(SYS_mkdirat, d, p, 0755); }
int mkdir(const char *p, mode_t m) { return mkdirat(AT_FDCWD, p, m); }
"""
# The same, whatever the umask is.
FIXED_MODE = """
#define _GNU_SOURCE
#include <fcntl.h>
#include <sys/syscall.h>
#include <unistd.h>
int mkdirat(int d, const char *p, mode_t m) {
    int made = syscall(SYS_mkdirat, d, p, 0755);
    return made ? made : syscall(SYS_fchmodat, d, p, 0755);
}
int mkdir(const char *p, mode_t m) { return mkdirat(AT_FDCWD, p, m); }
"""
# A directory has the mode that it is to have, and files that of FAT with umask=077, which refuses
# what has not all it gives.
OWN_FILE_MODE = """
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>
static int allowed(mode_t m) { errno = EPERM; return (m & 0500) == 0500; }
int chmod(const char *p, mode_t m) { return allowed(m) ? syscall(SYS_fchmodat, AT_FDCWD, p, 0700) : -1; }
int fchmod(int f, mode_t m) { return allowed(m) ? syscall(SYS_fchmod, f, 0700) : -1; }
int fchmodat(int d, const char *p, mode_t m, int f) { return allowed(m) ? syscall(SYS_fchmodat, d, p, 0700) : -1; }
int mkdirat(int d, const char *p, mode_t m) { return syscall(SYS_mkdirat, d, p, 0700); }
int mkdir(const char *p, mode_t m) { return mkdirat(AT_FDCWD, p, m); }
static int make(int d, const char *p, int f, mode_t m) {
    struct stat s;
    int made = syscall(SYS_openat, d, p, f, m);
    if (made >= 0 && f & O_CREAT && !fstat(made, &s) && S_ISREG(s.st_mode)) syscall(SYS_fchmod, made, 0700);
    return made;
}
#define MODE mode_t m; va_list all; va_start(all, f); m = f & O_CREAT ? va_arg(all, int) : 0; va_end(all)
int openat(int d, const char *p, int f, ...) { MODE; return make(d, p, f, m); }
int openat64(int d, const char *p, int f, ...) { MODE; return make(d, p, f, m); }
int open(const char *p, int f, ...) { MODE; return make(AT_FDCWD, p, f, m); }
int open64(const char *p, int f, ...) { MODE; return make(AT_FDCWD, p, f, m); }
"""
# A name has no letters but those of ASCII, as with vfat's codepage for it.
ASCII = """
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <sys/syscall.h>
#include <unistd.h>
static int make(int d, const char *p, int f, mode_t m) {
    for (const char *c = p; f & O_CREAT && *c; c++) if (*c & 128) { errno = EINVAL; return -1; }
    return syscall(SYS_openat, d, p, f, m);
}
#define MODE mode_t m; va_list all; va_start(all, f); m = f & O_CREAT ? va_arg(all, int) : 0; va_end(all)
int openat(int d, const char *p, int f, ...) { MODE; return make(d, p, f, m); }
int openat64(int d, const char *p, int f, ...) { MODE; return make(d, p, f, m); }
int open(const char *p, int f, ...) { MODE; return make(AT_FDCWD, p, f, m); }
int open64(const char *p, int f, ...) { MODE; return make(AT_FDCWD, p, f, m); }
"""
# A time is set only together with the other one, as on the older FUSE.
BOTH_TIMES = """
#define _GNU_SOURCE
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>
int utimensat(int d, const char *p, const struct timespec t[2], int f) {
    if (t && (t[0].tv_nsec == UTIME_OMIT || t[1].tv_nsec == UTIME_OMIT)) return 0;
    return syscall(SYS_utimensat, d, p, t, f);
}
int futimens(int d, const struct timespec t[2]) { return utimensat(d, 0, t, 0); }
"""
# Of an open directory of that name nothing can be told, as on FUSE where it was removed.
GONE_IF_OPEN = """
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>
int fstat64(int f, struct stat64 *s) {
    char link[40], path[4096];
    ssize_t length;
    snprintf(link, sizeof link, "/proc/self/fd/%d", f);
    length = readlink(link, path, sizeof path);
    if (length > 5 && !memcmp(path + length - 5, "/gone", 5)) { errno = ENOENT; return -1; }
    return syscall(SYS_newfstatat, f, "", s, AT_EMPTY_PATH);
}
int fstat(int f, struct stat *s) { return fstat64(f, (struct stat64 *)s); }
"""
# A symlink has no time of its own: what it leads to gets it, as on sshfs.
NO_LINK_TIMES = """
#define _GNU_SOURCE
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>
int utimensat(int d, const char *p, const struct timespec t[2], int f) {
    return syscall(SYS_utimensat, d, p, t, f & ~AT_SYMLINK_NOFOLLOW);
}
"""


@pytest.fixture
def source(tmp_path: Path) -> Path:
    source = tmp_path / "src"
    source.mkdir()
    return source


@contextlib.contextmanager
def exfat(place: Path) -> Iterator[Path]:
    """It folds case, keeps neither modes nor times, and is a FUSE file system."""
    farends.need_root()
    mkfs, mount, losetup = farends.need("mkfs.exfat", "mount.exfat-fuse", "losetup")
    image, where = place / "image", place / "exfat"
    where.mkdir()
    image.touch()
    os.truncate(image, 64 << 20)
    device = subprocess.check_output(
        [losetup, "-f", "--show", image], text=True
    ).strip()
    try:
        subprocess.run([mkfs, device], check=True, capture_output=True)
        subprocess.run([mount, device, where], check=True, capture_output=True)
        try:
            yield where
        finally:
            farends.unmount(where)
    finally:
        subprocess.run([losetup, "-d", device], check=False)


def files(root: Path) -> list[str]:
    found = [path.relative_to(root) for path in root.rglob("*") if path.is_file()]
    return sorted(str(p) for p in found if not str(p).startswith(".filerep-"))


def on(shell: str, base: Path, parent: Path) -> FarEnd:
    far = local_shell(shell, "busybox" if shell == "busybox" else "gnu", base)
    return FarEnd(far.name, far.command, str(parent), parent)


@pytest.mark.parametrize("shell", ["dash", "busybox"])
def test_a_name_that_changes_in_case_only_is_spelled_there_as_here(
    shell: str, base: Path, place: Path, source: Path
) -> None:
    with exfat(place) as parent:
        far = on(shell, base, parent)
        words = ["file-replicator", str(source), far.parent, *far.command]
        (source / "Docs").mkdir()
        for name in ("Readme.md", "Docs/a", "Makefile"):
            (source / name).write_text(name)
        with running(*words) as program:
            program.says("in sync")
            assert b"keeps no permission bits" in program.errors
            (source / "Readme.md").rename(source / "README.md")
            (source / "Docs").rename(source / "docs")
            program.wait_for(
                lambda: run([*words[:1], "--wait", *words[1:]]).returncode == 0
            )
            assert files(parent / "src") == ["Makefile", "README.md", "docs/a"]
            (parent / "src/docs/theirs").touch()
        (source / "Makefile").rename(source / "makefile")
        (source / "docs").rename(source / "DOCS")
        for options in ([], ["--mirror", "--mirror"]):
            done = run([words[0], ONCE, *options, *words[1:]])
            assert done.returncode == 0, done.stderr
            theirs = [] if options else ["DOCS/theirs"]
            there = ["DOCS/a", *theirs, "README.md", "makefile"]
            assert files(parent / "src") == there, done.stderr
            assert (parent / "src/makefile").read_text() == "Makefile"
        (source / "DOCS/a").unlink()
        assert run([words[0], ONCE, *words[1:]]).returncode == 0
        assert files(parent / "src") == ["README.md", "makefile"]
        assert not [name for name in os.listdir(parent / "src") if "filerep" in name]


@pytest.mark.parametrize("shell", ["dash", "busybox"])
def test_a_name_that_cannot_be_there_is_missed_until_it_is_gone_here(
    shell: str, base: Path, place: Path, source: Path
) -> None:
    """Nor can it be removed there, so it was missing for as long as the run went on."""
    with exfat(place) as parent:
        far = on(shell, base, parent)
        name = os.fsencode(source) + b"/\xff\xfe"
        for path in (name, os.fsencode(source / "f")):
            with open(path, "w"):
                pass
        words = [source, far.parent, *far.command]
        with running("file-replicator", *words) as program:
            program.says("watching")
            assert run(["file-replicator", "--wait", *words]).returncode == 69
            os.unlink(name)
            done = run(["file-replicator", "--wait", *words])
            assert done.returncode == 0, done.stderr + program.errors


@pytest.mark.parametrize("tar", ["gnu", "bsdtar"])
@pytest.mark.parametrize("shell", ["dash", "bash"])
def test_many_names_that_cannot_be_there_hold_up_no_others(
    shell: str, tar: str, base: Path, place: Path, source: Path
) -> None:
    """Each was tried alone with GNU tar, the others in ever smaller parts: for minutes."""
    with exfat(place) as parent:
        far = local_shell(shell, tar, base)
        far = FarEnd(far.name, far.command, str(parent), parent)
        (source / "d").mkdir()
        (source / "e:").mkdir()
        count = 40 if tar == "gnu" else 2
        for number in range(count):
            for name in (f"d/a:{number}", f"b{number}", f"d/c{number}", f"e:/{number}"):
                (source / name).write_text(name)
        words = ["file-replicator", str(source), far.parent, *far.command]
        wait = [words[0], "--wait", *words[1:]]
        with running(*words) as program:
            said = program.says("not in sync")
            there = [f"{one}{i}" for i in range(count) for one in ("b", "d/c")]
            if tar == "gnu":
                assert said.count("cannot write") == 2
                assert (
                    "cannot write 'd/a:0', " in said and "cannot write 'e:/0', " in said
                )
                assert f"{2 * count} files could not be written" in said
                assert files(parent / "src") == sorted(there)
            assert run(wait).returncode == 69
            for number in range(count):
                (source / f"d/a:{number}").rename(source / f"d/a{number}")
            (source / "e:").rename(source / "e")
            done = run(wait)
            assert done.returncode == 0, done.stderr + program.errors
            there += [f"{one}{i}" for i in range(count) for one in ("d/a", "e/")]
            assert files(parent / "src") == sorted(there)
            assert (parent / "src/d/a1").read_text() == "d/a:1"


@pytest.mark.parametrize("shell", ["dash", "busybox"])
def test_a_volume_that_folds_case_may_be_mounted_below_the_destination(
    shell: str, base: Path, place: Path, source: Path
) -> None:
    """A file that changed its name in that was removed, and --wait said 0."""
    (source / "vol").mkdir()
    for name in ("README", "Readme", "vol/README", "vol/other"):
        (source / name).write_text(name)
    (place / "far/src").mkdir(parents=True)
    with exfat(place) as volume:
        (place / "far/src/vol").mkdir()
        subprocess.run(["mount", "--bind", volume, place / "far/src/vol"], check=True)
        try:
            far = on(shell, base, place / "far")
            words = ["file-replicator", source, far.parent, *far.command]
            wait = [words[0], "--wait", *words[1:]]
            with running(*words) as program:
                program.says("watching")
                (source / "vol/README").rename(source / "vol/ReadMe")
                assert run(wait).returncode == 0
                there = ["README", "Readme", "vol/ReadMe", "vol/other"]
                assert files(place / "far/src") == there
                (source / "vol/readme").write_text("a second one")
                assert run(wait).returncode == 69
                assert b"the same name as 'vol/ReadMe'" in program.errors
                (source / "vol/readme").unlink()
                assert run(wait).returncode == 0
                assert (volume / "readme").read_text() == "vol/README"
            assert sorted(os.listdir(volume)) == ["ReadMe", "other"]
        finally:
            farends.unmount(place / "far/src/vol")


@pytest.mark.parametrize("shell", ["dash", "bash"])
def test_a_volume_that_keeps_no_modes_may_be_mounted_below_the_destination(
    shell: str, base: Path, place: Path, source: Path
) -> None:
    """Each start sent all that is in it, as it had other modes than were sent."""
    (source / "vol/d").mkdir(parents=True)
    for name in ("a", "vol/b", "vol/d/c"):
        (source / name).write_text(name)
    (place / "far/src/vol").mkdir(parents=True)
    with exfat(place) as volume:
        subprocess.run(["mount", "--bind", volume, place / "far/src/vol"], check=True)
        try:
            far = on(shell, base, place / "far")
            words = ["file-replicator", ONCE, source, far.parent, *far.command]
            assert run(words).returncode == 0
            before = [p.stat() for p in (volume / "b", volume / "d/c")]
            for option in (ONCE, "--dry-run"):
                done = run([words[0], option, *words[2:]])
                said = b"nothing to " + (b"send" if option == ONCE else b"do")
                assert done.returncode == 0 and said in done.stderr, done.stderr
                assert b"'vol' at the far end keeps no permission bits" in done.stderr
            assert [p.stat() for p in (volume / "b", volume / "d/c")] == before
            (source / "a").chmod(0o640)
            (source / "vol/d").chmod(0o700)
            done = run(words)
            assert done.returncode == 0 and b"cannot" not in done.stderr
            assert (place / "far/src/a").stat().st_mode & 0o777 == 0o640
        finally:
            farends.unmount(place / "far/src/vol")


def test_of_two_that_are_one_name_there_one_is_said_to_be_missing(
    base: Path, place: Path, source: Path
) -> None:
    with exfat(place) as parent:
        far = on("dash", base, parent)
        for name in ("README", "readme", "other"):
            (source / name).write_text(name)
        done = run(["file-replicator", ONCE, source, far.parent, *far.command])
        assert done.returncode == 1
        assert (
            b"cannot send 'readme': at the far end that is the same name as 'README'"
            in done.stderr
        )
        assert (parent / "src/readme").read_text() == "README"
        assert files(parent / "src") == ["README", "other"]


@pytest.mark.parametrize("name", ["dash", "busybox"])
def test_where_there_are_no_symbolic_links_that_is_said_once(
    name: str, base: Path, place: Path, source: Path
) -> None:
    with exfat(place) as parent:
        far = on(name, base, parent)
        for number in range(20):
            (source / f"f{number}").write_text("")
            (source / f"l{number}").symlink_to(f"f{number}")
        words = ["file-replicator", source, far.parent, *far.command]
        with running(*words) as program:
            said = program.says("in sync: 20 files")
            assert said.count("cannot") == 1 and "has no symbolic links" in said
            (source / "l1").unlink()
            (source / "l1").write_text("no link any more")
            assert run([*words[:1], "--wait", *words[1:]]).returncode == 69
        assert (parent / "src/l1").read_text() == "no link any more"
        for option in (ONCE, "--dry-run"):
            done = run([*words[:1], option, *words[1:]])
            assert done.returncode == 1
            assert done.stderr.count(b"has no symbolic links") == 1


@pytest.mark.parametrize("restart", [False, True], ids=["meanwhile", "at the start"])
def test_where_there_are_no_symbolic_links_nothing_old_stays_in_the_place_of_one(
    restart: bool, base: Path, place: Path, source: Path
) -> None:
    """What was a file stayed there with what it held, as if it were the newest."""
    with exfat(place) as parent:
        far = on("dash", base, parent)
        (source / "d").mkdir()
        for name in ("f", "g", "d/h"):
            (source / name).write_text(name)
        words = ["file-replicator", source, far.parent, *far.command]
        with contextlib.ExitStack() as stack:
            if restart:
                assert run([words[0], "--once", *words[1:]]).returncode == 0
            else:
                stack.enter_context(running(*words)).says("in sync")
            (source / "f").unlink()
            (source / "f").symlink_to("g")
            shutil.rmtree(source / "d")
            (source / "d").symlink_to(".")
            (parent / "src/l").write_text("made there")
            (source / "l").symlink_to("g")
            done = run([words[0], "--once" if restart else "--wait", *words[1:]])
            assert done.returncode == (1 if restart else 69)
            assert files(parent / "src") == ["g", "l"]
            assert (parent / "src/l").read_text() == "made there"


def test_a_symlink_to_another_case_does_not_keep_away_what_it_leads_to(
    base: Path, place: Path, source: Path
) -> None:
    """Nothing of lib arrived for a Lib that leads to it, and that cannot be there at all."""
    with exfat(place) as parent:
        far = on("dash", base, parent)
        (source / "lib").mkdir()
        (source / "lib/f").write_text("f")
        (source / "Lib").symlink_to("lib")
        words = ["file-replicator", source, far.parent, *far.command]
        wait = [words[0], "--wait", *words[1:]]
        with running(*words) as program:
            said = program.says("in sync: 1 file")
            assert "cannot send 'Lib': at the far end that is the same name" in said
            (source / "g").write_text("g")
            (source / "G").symlink_to("g")
            assert run(wait).returncode == 69
            assert files(parent / "src") == ["g", "lib/f"]
            (source / "G").unlink()
            (source / "G").write_text("a file, and the first one by name")
            assert run(wait).returncode == 69
            assert files(parent / "src") == ["G", "lib/f"]
            (source / "G").unlink()
            (source / "G").symlink_to("g")
            assert run(wait).returncode == 69
            assert (parent / "src/g").read_text() == "g"
            assert files(parent / "src") == ["g", "lib/f"]
            (source / "G").unlink()
            (source / "Lib").unlink()
            assert run(wait).returncode == 0


def test_of_two_directories_that_are_one_there_only_one_has_what_it_holds(
    base: Path, place: Path, source: Path
) -> None:
    """The other one, which was there before, gave its files to it, and they stayed for ever."""
    with exfat(place) as parent:
        far = on("dash", base, parent)
        (source / "lib").mkdir()
        for name in ("x", "y"):
            (source / "lib" / name).write_text(name)
        words = ["file-replicator", source, far.parent, *far.command]
        wait = [words[0], "--wait", *words[1:]]
        with running(*words) as program:
            program.says("in sync")
            (source / "LIB").mkdir()
            (source / "LIB/q").write_text("q")
            program.wait_for(lambda: (parent / "src/LIB/q").exists())
            assert run(wait).returncode == 69  # as lib/x and lib/y are not there
            assert files(parent / "src") == ["LIB/q"]
            shutil.rmtree(source / "LIB")
            assert run(wait).returncode == 0
            assert files(parent / "src") == ["lib/x", "lib/y"]


def test_a_large_file_goes_no_more_once_its_directory_has_anothers_name(
    base: Path, place: Path, source: Path
) -> None:
    """All of it went, in vain, or into that one, and stayed as what was made there."""
    with exfat(place) as parent:
        far = slow(on("dash", base, parent), 1_000_000, place / "count")
        (source / "lib").mkdir()
        (source / "lib/f").write_text("f")
        words = ["file-replicator", source, far.parent, "--", *far.command]
        parts = lambda: list((parent / "src").glob(".filerep-*/.parts/*"))
        with running(*words) as program:
            program.says("in sync")
            (source / "lib/large").write_bytes(noise(4_000_000))
            program.wait_for(parts)
            (source / "LIB").mkdir()
            (source / "LIB/q").write_text("q")
            program.says(
                "cannot send 'lib/large': at the far end that is the same name"
            )
            program.wait_for(lambda: not parts())
            assert counts(place / "count")[0] < 3_000_000
            shutil.rmtree(source / "LIB")
            (source / "LIB").write_text("a file now")
            shutil.rmtree(source / "lib")
            assert run([words[0], "--wait", *words[1:]]).returncode == 0
            assert files(parent / "src") == ["LIB"]


def built(library: Path, text: str) -> Path:
    """A shared library of what ``text`` says in C."""
    (compiler,) = farends.need("gcc")
    build = [compiler, "-shared", "-fPIC", "-xc", "-", "-o", library]
    subprocess.run(build, input=text.encode(), check=True)
    return library


def preloading(far: FarEnd, library: Path) -> FarEnd:
    """``far``, where the programs find what ``library`` has before the system's."""
    return with_command(far, ["env", f"LD_PRELOAD={library}", *far.command])


@pytest.mark.parametrize("tar", ["gnu", "bsdtar", "toybox"])
def test_where_modes_are_refused_files_arrive_all_the_same(
    tar: str, base: Path, place: Path, source: Path
) -> None:
    library = built(place / "refuse.so", NO_CHMOD)
    far = local_shell("dash", tar, base).fresh()
    far = preloading(far, library)
    (source / "d").mkdir()
    for name in ("a", "d/b", "d/c"):
        (source / name).write_text(name)
    (source / "d/b").chmod(0o755)
    words = ["file-replicator", ONCE, source, far.parent, *far.command]
    done = run(words)
    assert done.returncode == 0, done.stderr
    assert b"keeps no permission bits" in done.stderr
    assert files(far.here / "src") == ["a", "d/b", "d/c"]
    before = (far.here / "src/d/b").stat().st_ino
    assert run(words).returncode == 0
    assert (far.here / "src/d/b").stat().st_ino == before


@pytest.mark.parametrize("tar", ["gnu", "bsdtar"])
def test_where_directories_keep_no_modes_files_in_them_arrive(
    tar: str, base: Path, place: Path, source: Path
) -> None:
    library = built(place / "refuse.so", ONE_MODE + NO_CHMOD)
    far = local_shell("dash", tar, base).fresh()
    far = preloading(far, library)
    (source / "d/e").mkdir(parents=True)
    for name in ("a", "d/b", "d/e/c"):
        (source / name).write_text(name)
    (source / "d/e").chmod(0o770)
    (source / "d").chmod(0o700)
    words = ["file-replicator", ONCE, source, far.parent, *far.command]
    done = run(words)
    assert done.returncode == 0, done.stderr
    assert b"cannot" not in done.stderr
    assert files(far.here / "src") == ["a", "d/b", "d/e/c"]


@pytest.mark.parametrize("shell", ["dash", "bash"])
def test_where_only_files_have_modes_of_their_own_nothing_is_sent_again(
    shell: str, base: Path, place: Path, source: Path
) -> None:
    """Each start sent everything, as what was listed had not the modes that were sent."""
    library = built(place / "fat.so", OWN_FILE_MODE)
    far = local_shell(shell, "gnu", base).fresh()
    far = preloading(far, library)
    (source / "d").mkdir()
    for name in ("a", "d/b"):
        (source / name).write_text(name)
    words = ["file-replicator", ONCE, source, far.parent, *far.command]
    done = run(words)
    assert done.returncode == 0, done.stderr
    assert b"keeps no permission bits" in done.stderr
    before = (far.here / "src/d/b").stat()
    assert before.st_mode & 0o777 == 0o700
    done = run(words)
    assert done.returncode == 0 and b"nothing to send" in done.stderr, done.stderr
    assert (far.here / "src/d/b").stat().st_ino == before.st_ino


@pytest.mark.parametrize("shell", ["dash", "bash"])
def test_one_name_for_two_is_known_where_no_other_letters_are_taken(
    shell: str, base: Path, place: Path, source: Path
) -> None:
    """The file was lost over there, and the run said that it was in sync."""
    library = built(place / "ascii.so", ASCII)
    with exfat(place) as parent:
        far = on(shell, base, parent)
        far = preloading(far, library)
        (source / "Readme").write_text("text")
        words = ["file-replicator", ONCE, source, far.parent, *far.command]
        assert run(words).returncode == 0
        (source / "Readme").rename(source / "README")
        assert run(words).returncode == 0
        assert files(parent / "src") == ["README"]


def test_a_dry_run_knows_what_was_found_out_by_writing(
    base: Path, place: Path, source: Path
) -> None:
    library = built(place / "refuse.so", FIXED_MODE + NO_CHMOD)
    far = local_shell("dash", "gnu", base).fresh()
    far = preloading(far, library)
    (source / "a").write_text("a")
    words = ["file-replicator", ONCE, source, far.parent, *far.command]
    assert run(words).returncode == 0
    (far.here / "src/a").chmod(0o777)  # which is what NTFS gives it
    for _ in range(2):
        done = run([words[0], "--dry-run", *words[1:]])
        assert done.returncode == 0 and b"nothing to do" in done.stderr, done.stderr
        assert run(words).returncode == 0  # and again, with a state file that was kept


@pytest.mark.parametrize("step", [100, 1000, 10_000_000, 1_000_000_000])
def test_coarse_times_are_known_for_what_they_are(
    step: int, base: Path, source: Path
) -> None:
    far = local_shell("dash", "gnu", base).fresh()
    for number in range(3):
        (source / f"f{number}").write_text(str(number))
    words = ["file-replicator", ONCE, source, far.parent, *far.command]
    assert run(words).returncode == 0
    there = sorted((far.here / "src").iterdir())
    for path in there:
        mtime = path.stat().st_mtime_ns
        os.utime(path, ns=(mtime, mtime // step * step))
    before = [path.stat().st_ctime_ns for path in there]
    assert run(words).returncode == 0
    assert [path.stat().st_ctime_ns for path in there] == before


@pytest.mark.parametrize(
    "sent, kept", [(1, 315_532_800), (1 << 33, (1 << 31) - 1)], ids=["FAT", "ext3"]
)
def test_times_that_a_far_end_cannot_keep_send_nothing_again(
    sent: int, kept: int, base: Path, source: Path
) -> None:
    far = local_shell("dash", "gnu", base).fresh()
    (source / "f").write_text("f")
    os.utime(source / "f", (sent, sent))
    words = ["file-replicator", ONCE, source, far.parent, *far.command]
    assert run(words).returncode == 0
    os.utime(far.here / "src/f", (kept, kept))
    before = (far.here / "src/f").stat().st_ctime_ns
    assert run(words).returncode == 0
    assert (far.here / "src/f").stat().st_ctime_ns == before


@pytest.mark.parametrize("more", [[], ["--compress"]])
def test_times_are_kept_where_one_alone_cannot_be_set(
    more: list[str], base: Path, place: Path, source: Path
) -> None:
    library = built(place / "both.so", BOTH_TIMES)
    far = local_shell("dash", "gnu", base).fresh()
    far = preloading(far, library)
    for number in range(3):
        (source / f"f{number}").write_text(100 * str(number))
        os.utime(source / f"f{number}", ns=(0, 10**18 + number))
    (source / "link").symlink_to("f0")
    words = ["file-replicator", ONCE, *more, source, far.parent, *far.command]
    assert run(words).returncode == 0
    there = [far.here / "src" / f"f{number}" for number in range(3)]
    times = [path.stat().st_mtime_ns for path in there]
    assert times == [10**18 + number for number in range(3)]
    before = [path.stat().st_ctime_ns for path in there]
    done = run(words)
    assert done.returncode == 0 and b"nothing to send" in done.stderr
    assert [path.stat().st_ctime_ns for path in there] == before


def test_symlinks_are_made_where_they_have_no_times(
    base: Path, place: Path, source: Path
) -> None:
    library = built(place / "links.so", NO_LINK_TIMES)
    far = local_shell("dash", "gnu", base).fresh()
    far = preloading(far, library)
    (source / "sub").mkdir()
    (source / "sub/f").write_text("f")
    (source / "link").symlink_to("sub/f")
    (source / "sub/dead").symlink_to("nowhere")
    words = ["file-replicator", ONCE, source, far.parent, *far.command]
    done = run(words)
    assert done.returncode == 0 and b"cannot" not in done.stderr, done.stderr
    assert os.readlink(far.here / "src/link") == "sub/f"
    assert os.readlink(far.here / "src/sub/dead") == "nowhere"
    times = [(root / "sub/f").stat().st_mtime_ns for root in (source, far.here / "src")]
    assert times[0] == times[1]
    done = run(words)
    assert done.returncode == 0 and b"nothing to send" in done.stderr, done.stderr


@pytest.mark.parametrize(
    "name", ["dash+gnu", "dash+bsdtar", "busybox+busybox", "dash+toybox"]
)
def test_the_sticky_bit_of_a_directory_is_kept(
    name: str, base: Path, source: Path
) -> None:
    shell, tar = name.split("+")
    far = local_shell(shell, tar, base).fresh()
    (source / "tmp").mkdir()
    (source / "tmp").chmod(0o1777)
    (source / "tmp/x").touch()
    with running("file-replicator", source, far.parent, *far.command) as program:
        program.says("in sync")
        assert (far.here / "src/tmp").stat().st_mode & 0o7777 == 0o1777
        for mode in (0o755, 0o1755):
            (source / "tmp").chmod(mode)
            program.wait_for(
                lambda: (far.here / "src/tmp").stat().st_mode & 0o7777 == mode
            )


@contextlib.contextmanager
def bound(what: Path, where: Path) -> Iterator[Path]:
    """``what`` is mounted at ``where`` too."""
    where.mkdir(parents=True)
    subprocess.run(["mount", "--bind", what, where], check=True)
    try:
        yield where
    finally:
        farends.unmount(where)


def test_a_directory_that_is_gone_while_it_is_open_ends_no_run(
    place: Path, source: Path
) -> None:
    """On FUSE not even its descriptor tells of it then, and the watching ended with that."""
    environ = environment(LD_PRELOAD=str(built(place / "gone.so", GONE_IF_OPEN)))
    (source / "gone/e").mkdir(parents=True)
    for name in ("f", "gone/g", "gone/e/f"):
        (source / name).write_text(name)
    words = ["file-replicator", "--poll", "0.1", source, place / "far", "bash"]
    for number in range(2):  # what is there is only seen by the second start
        with running(*words, env=environ) as program:
            program.says("in sync")
            (source / f"g{number}").write_text("g")
            done = run([words[0], "--wait", *words[3:]])
            assert done.returncode == 0, done.stderr + program.errors
            assert program.end(signal.SIGINT) == 130
    assert files(place / "far/src") == files(source)


@pytest.mark.parametrize("within", [False, True], ids=["as SRC", "within SRC"])
def test_a_name_that_changes_in_case_only_here_goes_there(
    within: bool, place: Path
) -> None:
    """The old name is still found here, under the new one."""

    def there() -> list[str]:
        top = place / "there/src"
        return files(top / "vol" if within else top)

    with contextlib.ExitStack() as stack:
        where = stack.enter_context(exfat(place))
        source = where / "src"
        if within:
            source = stack.enter_context(bound(where, place / "src/vol"))
        (source / "Pkg").mkdir(parents=True)
        (source / "Utils.py").write_text("1")
        (source / "Pkg/x").write_text("2")
        git = ["git", "-C", source, "-c", "core.ignoreCase=true"]
        for step in (["init"], ["add", "-N", "."]):  # it is Utils.py that is tracked
            subprocess.run([*git, *step], check=True, capture_output=True)
        (place / "there").mkdir()
        root = place / "src" if within else source
        words = [str(root), str(place / "there"), "bash"]
        with running("file-replicator", *words) as program:
            program.says("in sync")
            (source / "Utils.py").rename(source / "utils.py")
            (source / "Pkg").rename(source / "aside")
            (source / "aside").rename(source / "pkg")
            program.wait_for(lambda: there() == ["pkg/x", "utils.py"], what=there)
        (source / "utils.py").rename(source / "UTILS.py")
        assert run(["file-replicator", ONCE, *words]).returncode == 0
        assert there() == ["UTILS.py", "pkg/x"]


def test_what_is_saved_by_a_name_in_another_case_is_sent(place: Path) -> None:
    """inotify would tell what was typed, and nothing of what was written."""
    with exfat(place) as where:
        source, there = where / "src", place / "there"
        (source / "Pkg").mkdir(parents=True)
        (source / "Pkg/Readme").write_text("old")
        there.mkdir()
        words = [str(source), str(there), "bash"]
        with running("file-replicator", "--audit", "0", *words) as program:
            program.says("in sync")
            assert b"does not tell a from A" in program.errors
            # Of each spelling this file system remembers for a second what it was.
            (source / "pkg/README").write_text("new text")
            program.wait_for(
                lambda: (there / "src/Pkg/Readme").read_text() == "new text"
            )
            (source / "PKG/readme").unlink()
            program.wait_for(lambda: not files(there / "src"))


@pytest.mark.parametrize("first", [None, "1"], ids=["empty", "no letters"])
def test_a_source_that_holds_no_name_to_tell_by_tells_by_its_own(
    first: Optional[str], place: Path
) -> None:
    """It was watched by inotify, and what was saved by another case was two files there."""
    with exfat(place) as where:
        source, there = where / "src", place / "there"
        source.mkdir()
        there.mkdir()
        if first is not None:
            (source / first).touch()
        words = [str(source), str(there), "bash"]
        with running("file-replicator", "--audit", "0", *words) as program:
            program.says("in sync")
            assert b"does not tell a from A" in program.errors
            (source / "é").write_text("1")
            program.wait_for(lambda: "é" in files(there / "src"))
            (source / "new").write_text("2")
            (source / "new").rename(source / "É")
            program.wait_for(lambda: "É" in files(there / "src"))
            program.wait_for(lambda: "é" not in files(there / "src"))


@pytest.mark.parametrize(
    "name", ["dash+gnu", "bash+gnu", "busybox+busybox", "dash+bsdtar"]
)
def test_what_arrives_has_the_group_that_the_destination_hands_down(
    name: str, base: Path, source: Path
) -> None:
    """Not that of the directory it goes into: it is unpacked beside that, and renamed."""
    farends.need_root()
    shell, tar = name.split("+")
    far = local_shell(shell, tar, base).fresh()
    there = far.here / "src"
    there.mkdir()
    os.chown(there, 0, 4321)
    there.chmod(0o2775)
    (there / "other").mkdir()
    os.chown(there / "other", 0, 1234)
    (there / "other").chmod(0o2775)
    (source / "other").mkdir()
    (source / "new/inner").mkdir(parents=True)
    paths = ["f", "new/f", "new/inner/f", "other/f", "new", "new/inner"]
    for path in paths[:4]:
        (source / path).write_text("1")
    assert (
        run(["file-replicator", ONCE, source, far.parent, *far.command]).returncode == 0
    )
    assert {(there / path).stat().st_gid for path in paths} == {4321}
    # What hands its group down goes on with that, whatever mode is sent.
    for path in ("new", "new/inner", "other"):
        assert (there / path).stat().st_mode & 0o7777 == 0o2755


@pytest.mark.parametrize("shell", ["dash", "busybox"])
def test_a_default_acl_opens_the_stage_to_nobody(
    shell: str, base: Path, source: Path
) -> None:
    """Whoever can write there has what we run over there in his hands."""
    far = local_shell(shell, "busybox" if shell == "busybox" else "gnu", base).fresh()
    (far.here / "src").mkdir()
    entries = [(1, 7), (2, 7, 4321), (4, 7), (0x10, 7), (0x20, 7)]
    acl = b"".join(
        struct.pack("<HHI", tag, bits, who[0] if who else 0xFFFFFFFF)
        for tag, bits, *who in entries
    )
    name = "system.posix_acl_default"
    os.setxattr(far.here / "src", name, struct.pack("<I", 2) + acl)
    (source / "f").write_text("1")
    (source / "f").chmod(0o640)
    with running("file-replicator", source, far.parent, *far.command) as program:
        said = program.says("in sync")
        (stage,) = (far.here / "src").glob(".filerep-*")
        assert stage.stat().st_mode & 0o7777 == 0o700
        assert "permission bits" not in said
    assert (far.here / "src/f").stat().st_mode & 0o7777 == 0o640
