"""Real far ends to replicate to, each started here, on this machine only, and stopped again.

A far end is a connection command and a directory that both sides can name. What has to be
started (sshd, dockerd, a mount, a network namespace) is a context manager that ends by
process id what it started, listens on the loopback interface, in a namespace of its own or
on a unix socket, and keeps everything it writes in one directory.
"""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import os
import pwd
import shutil
import socket
import subprocess
import sys
import tarfile
import tempfile
import uuid
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from programs import stop, wait_for

SLOWLINK = Path(__file__).resolve().parent / "slowlink.py"
IS_ROOT = os.geteuid() == 0
SYSTEM_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

# The Debian package of each program that a far end is made of.
PACKAGES = {
    "bash": "bash",
    "bindfs": "bindfs",
    "bsdtar": "libarchive-tools",
    "busybox": "busybox-static",
    "dash": "dash",
    "docker": "docker.io",
    "docker-compose": "docker-compose",
    "dockerd": "docker.io",
    "gcc": "gcc",
    "ip": "iproute2",
    "ksh93": "ksh93u+m",
    "man": "man-db",
    "mksh": "mksh",
    "losetup": "mount",
    "mkfs.exfat": "exfatprogs",
    "mount": "mount",
    "mount.exfat-fuse": "exfat-fuse",
    "podman": "podman",
    "setpriv": "util-linux",
    "ssh": "openssh-client",
    "ssh-keygen": "openssh-client",
    "sshd": "openssh-server",
    "sudo": "sudo",
    "tar": "tar",
    "toybox": "toybox",
    "useradd": "passwd",
    "zsh": "zsh",
}

# Shells that take a script on standard input, as the words of a command. There is no dash
# where bash is tried, or the receiver would leave it, and no perl there and with busybox, so
# that mv is tried as well.
SHELLS = {
    "bash": ["bash"],
    "bash-dash": ["bash"],
    "bash-posix": ["bash", "--posix"],
    "dash": ["dash"],
    "busybox": ["busybox", "sh"],
    "mksh": ["mksh"],
    "zsh": ["zsh"],
    "ksh93": ["ksh93"],
}
TARS = {
    "gnu": ["tar"],
    "busybox": ["busybox", "tar"],
    "bsdtar": ["bsdtar"],
    "toybox": ["toybox", "tar"],
}
# Only these two keep the part of a modification time below the second.
SUB_SECOND_TARS = {"gnu", "bsdtar"}

# Most of them with most: busybox sh runs its own tar whatever PATH says, so it goes with no
# other; toybox tar and bash's other mode are rare enough to be tried with few.
FEW_WITH = {"busybox": {"busybox"}, "bash-posix": {"gnu"}, "mksh": {"gnu", "bsdtar"}}
FEW_WITH["bash-dash"] = {"gnu"}
FEW_WITH["zsh"] = {"gnu", "busybox", "bsdtar"}
SHELLS_AND_TARS = [
    (shell, tar)
    for shell, tar in itertools.product(SHELLS, TARS)
    if tar in FEW_WITH.get(shell, TARS)
]


def need(*programs: str) -> list[str]:
    """The programs' full paths; skips the test, naming the package, if one is missing."""
    found = []
    for program in programs:
        path = shutil.which(program, path=f"{SYSTEM_PATH}:{os.environ['PATH']}")
        if path is None:
            package = PACKAGES.get(program, program)
            pytest.skip(f"needs {program}: apt-get install {package}")
        found.append(path)
    return found


def need_root() -> None:
    if not IS_ROOT:
        pytest.skip("needs root: run the tests with sudo, or .ci/run in a container")


@dataclasses.dataclass(frozen=True)
class FarEnd:
    """A way to a shell, and a directory: ``parent`` over there is ``here`` on this side."""

    name: str
    command: list[str]
    parent: str
    here: Path
    sub_second: bool = True
    owner: tuple[int, int] | None = None
    env: dict[str, str] = dataclasses.field(default_factory=dict)

    def fresh(self, name: str = "") -> FarEnd:
        """The same far end with a new, empty directory of its own."""
        name = name or uuid.uuid4().hex[:12]
        here = self.here / name
        here.mkdir()
        if self.owner:
            os.chown(here, *self.owner)
        return dataclasses.replace(self, parent=f"{self.parent}/{name}", here=here)


def with_command(far: FarEnd, command: list[str]) -> FarEnd:
    return dataclasses.replace(far, command=command)


def ask(command: Sequence[str], script: str, timeout: float = 30) -> str:
    """What ``script`` prints when it is fed to the shell that ``command`` reaches."""
    done = subprocess.run(
        command, input=script.encode(), capture_output=True, timeout=timeout
    )
    assert done.returncode == 0, (done.returncode, done.stdout, done.stderr)
    return done.stdout.decode(errors="surrogateescape")


# --- places, users, processes ---------------------------------------------------------


@contextlib.contextmanager
def place(prefix: str = "fr-") -> Iterator[Path]:
    """A directory that every user may enter (pytest's own are for one user only)."""
    path = Path(tempfile.mkdtemp(prefix=prefix, dir="/tmp"))
    path.chmod(0o755)
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)


@contextlib.contextmanager
def ordinary_user() -> Iterator[pwd.struct_passwd]:
    """A user without rights who may log in: made for the purpose, or whoever runs this."""
    if not IS_ROOT:
        yield pwd.getpwuid(os.geteuid())
        return
    useradd, userdel = need("useradd", "userdel")
    for entry in pwd.getpwall():  # left by a run that was killed
        pid = entry.pw_name[len("frtest-") :]
        if entry.pw_name.startswith("frtest-") and not os.path.exists(f"/proc/{pid}"):
            subprocess.run([userdel, entry.pw_name], check=False, capture_output=True)
    name = f"frtest-{os.getpid()}"
    # An account with "!" for a password counts as locked, and sshd lets nobody in.
    subprocess.run(
        [useradd, "-M", "-d", "/tmp", "-s", "/bin/bash", "-p", "*", name],
        check=True,
        capture_output=True,
    )
    try:
        yield pwd.getpwnam(name)
    finally:
        subprocess.run([userdel, name], check=False, capture_output=True)


def without_rights() -> list[str]:
    """What to put before a command so that permission bits count for root as well.

    It keeps the user id, so a Python below /root still starts; without its capabilities
    root is an ordinary owner of its files, and a stranger to everybody else's.
    """
    if not IS_ROOT:
        return []
    return [*need("setpriv"), "--bounding-set=-all", "--inh-caps=-all", "--"]


def as_user(user: pwd.struct_passwd) -> list[str]:
    """What to put before a command to run it as ``user``."""
    if not IS_ROOT:
        return []
    return [
        *need("setpriv"),
        f"--reuid={user.pw_uid}",
        f"--regid={user.pw_gid}",
        "--clear-groups",
        "--",
    ]


@contextlib.contextmanager
def daemon(
    argv: Sequence[str], log: Path, **options: object
) -> Iterator[subprocess.Popen[bytes]]:
    """A process that ends with the block, and also if the tests are killed."""
    orphan = [*need("setpriv"), "--pdeathsig", "TERM", "--"]
    with log.open("ab") as out:
        process = subprocess.Popen(
            [*orphan, *argv],
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=out,
            **options,  # type: ignore[call-overload]
        )
    try:
        yield process
    finally:
        stop(process)


# --- shells and tars ------------------------------------------------------------------


def toolbox(tar: str, directory: Path) -> str:
    """A PATH in which ``tar`` is that tar; with busybox every tool is busybox's."""
    words = TARS[tar]
    (program,) = need(words[0])
    directory.mkdir(parents=True, exist_ok=True)
    if tar == "busybox":
        install_busybox(directory)
        return str(directory)
    if not (directory / "tar").exists():
        (directory / "tar").symlink_to(program)
    return f"{directory}:{SYSTEM_PATH}"


def without_dash_and_perl(directory: Path) -> str:
    """A PATH like the system's in which neither of these is."""
    if directory.exists():
        return str(directory)
    directory.mkdir(parents=True)
    for place in reversed(SYSTEM_PATH.split(":")):
        for program in Path(place).glob("*"):
            (directory / program.name).unlink(missing_ok=True)
            (directory / program.name).symlink_to(program)
    for program in directory.glob("perl*"):
        program.unlink()
    (directory / "dash").unlink(missing_ok=True)
    return str(directory)


def install_busybox(directory: Path) -> None:
    """busybox and a link for every applet of it, relative, so that it works in a chroot.

    `busybox --install -s` writes links to the path it was called by, which a container
    does not have: "executable file not found in $PATH".
    """
    (busybox,) = need("busybox")
    directory.mkdir(parents=True, exist_ok=True)
    if not (directory / "busybox").exists():  # else it may be running
        shutil.copy(busybox, directory / "busybox")
    for applet in subprocess.check_output([busybox, "--list"], text=True).split():
        if not os.path.lexists(directory / applet):
            (directory / applet).symlink_to("busybox")


def local_shell(shell: str, tar: str, base: Path) -> FarEnd:
    """``shell`` on this machine, where ``tar`` is that tar."""
    words = list(SHELLS[shell])
    (words[0],) = need(words[0])
    path = toolbox(tar, base / f"tools-{tar}")
    if shell in ("bash", "bash-posix"):
        tools = without_dash_and_perl(base / "tools-but-dash-and-perl")
        path = path.replace(SYSTEM_PATH, tools)
    here = base / "dest"
    here.mkdir(exist_ok=True)
    env = shutil.which("env") or "/usr/bin/env"
    return FarEnd(
        name=f"{shell}+{tar}",
        command=[env, f"PATH={path}", *words],
        parent=str(here),
        here=here,
        sub_second=tar in SUB_SECOND_TARS,
    )


# --- a root with nothing but busybox --------------------------------------------------


def busybox_root(root: Path) -> None:
    """A file system that holds busybox, its links, and nothing else."""
    install_busybox(root / "bin")
    for name in ("dest", "dev", "etc", "proc", "root", "sys", "tmp"):
        (root / name).mkdir(exist_ok=True)
    if IS_ROOT:
        words = [*need("chroot"), str(root), "/bin/busybox", "true"]
        if subprocess.run(words, capture_output=True).returncode:
            pytest.skip(
                "needs a busybox that is linked statically:"
                " apt-get install busybox-static"
            )


def chroot(base: Path) -> FarEnd:
    need_root()
    (program,) = need("chroot")
    root = base / "root"
    root.mkdir(exist_ok=True)
    busybox_root(root)
    # The shell opens /dev/null; an ordinary file will do for a chroot without devices.
    (root / "dev/null").touch()
    return FarEnd(
        name="chroot",
        command=[program, str(root), "/bin/sh"],
        parent="/dest",
        here=root / "dest",
        sub_second=False,
    )


def sudo(base: Path, user: pwd.struct_passwd) -> FarEnd:
    """`sudo -u user sh`, with a directory that this user owns."""
    need_root()
    (program,) = need("sudo")
    here = base / "sudo"
    here.mkdir(exist_ok=True)
    os.chown(here, user.pw_uid, user.pw_gid)
    return FarEnd(
        name="sudo",
        command=[program, "-n", "-u", user.pw_name, "sh"],
        parent=str(here),
        here=here,
        owner=(user.pw_uid, user.pw_gid),
    )


# --- sshd -----------------------------------------------------------------------------

BANNER = "*** This system is for testing only. ***\n"
CHATTER = """\
echo 'You have mail.'
echo 'stty: standard input: Inappropriate ioctl for device' >&2
printf '%s' 'a last line without its end'
"""


@dataclasses.dataclass(frozen=True)
class Sshd:
    """A running sshd and the client's configuration, in which its name is ``far``."""

    config: Path
    port: int
    process: subprocess.Popen[bytes]

    def ssh(self, *options: str) -> list[str]:
        (ssh,) = need("ssh")
        return [ssh, "-F", str(self.config), *options, "far"]

    def slow_ssh(
        self, delay_ms: float, bytes_per_second: float = 0, pid_file: Path | None = None
    ) -> list[str]:
        """ssh over a link that delays each direction and limits its rate."""
        words = [sys.executable, str(SLOWLINK), "127.0.0.1", str(self.port)]
        words += [str(delay_ms), str(bytes_per_second)]
        words += [str(pid_file)] if pid_file else []
        return self.ssh("-o", "ProxyCommand=" + " ".join(words))


@contextlib.contextmanager
def sshd(
    base: Path,
    user: pwd.struct_passwd | None = None,
    *,
    chatty: bool = False,
    address: str = "127.0.0.1",
    before: Sequence[str] = (),
    client_before: Sequence[str] = (),
) -> Iterator[Sshd]:
    """sshd with keys, configuration and users of its own; ``before`` starts it elsewhere."""
    server, keygen = need("sshd", "ssh-keygen")
    need("ssh")
    user = user or pwd.getpwuid(os.geteuid())
    base.mkdir(exist_ok=True)
    base.chmod(0o755)
    for key in ("host", "id"):
        subprocess.run(
            [keygen, "-q", "-t", "ed25519", "-N", "", "-f", str(base / key)], check=True
        )
    shutil.copy(base / "id.pub", base / "authorized_keys")
    home = base / "home"
    home.mkdir()
    if chatty:
        (base / "banner").write_text(BANNER)
        (home / ".bashrc").write_text(CHATTER)
    if IS_ROOT and not os.path.isdir("/run/sshd"):
        os.mkdir("/run/sshd", 0o755)
    # A namespace of one's own has all its ports free, and cannot be asked from here.
    port = 2222 if "netns" in before else free_port(address)
    (base / "sshd_config").write_text(f"""\
ListenAddress {address}:{port}
HostKey {base}/host
AuthorizedKeysFile {base}/authorized_keys
PidFile {base}/pid
StrictModes no
UsePAM no
PasswordAuthentication no
PermitRootLogin prohibit-password
PrintMotd no
MaxStartups 100
MaxSessions 100
SetEnv HOME={home}
{f"Banner {base}/banner" if chatty else ""}
""")
    host_key = " ".join((base / "host.pub").read_text().split()[:2])
    (base / "known_hosts").write_text(f"[{address}]:{port} {host_key}\n")
    (base / "ssh_config").write_text(f"""\
Host far
    HostName {address}
    Port {port}
    User {user.pw_name}
    IdentityFile {base}/id
    IdentitiesOnly yes
    UserKnownHostsFile {base}/known_hosts
    GlobalKnownHostsFile /dev/null
    StrictHostKeyChecking yes
    BatchMode yes
""")
    log = base / "log"
    argv = [*before, server, "-D", "-e", "-f", str(base / "sshd_config")]
    with daemon(argv, log) as process:
        # It says so on stderr when it listens; there is no other sign.
        wait_for(
            lambda: "Server listening" in log.read_text(errors="replace"),
            process=process,
            what=lambda: log.read_text(errors="replace"),
        )
        yield Sshd(base / "ssh_config", port, process)


def free_port(address: str) -> int:
    with socket.socket() as probe:
        probe.bind((address, 0))
        return int(probe.getsockname()[1])


def over_ssh(
    name: str, server: Sshd, base: Path, user: pwd.struct_passwd | None = None
) -> FarEnd:
    here = base / f"dest-{name}"
    here.mkdir(exist_ok=True)
    owner = (user.pw_uid, user.pw_gid) if user and IS_ROOT else None
    if owner:
        os.chown(here, *owner)
    return FarEnd(name, [*server.ssh(), "bash"], str(here), here, owner=owner)


# --- Docker ---------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class Docker:
    """A running engine without any network, and an image ``farend`` that holds busybox."""

    base: Path
    socket: Path

    def docker(self, *words: str) -> list[str]:
        # The client of the same package as the engine: a newer one may refuse its API.
        client = "/usr/bin/docker"
        if not os.path.exists(client):
            (client,) = need("docker")
        return [client, "-H", f"unix://{self.socket}", *words]

    def call(self, *words: str) -> str:
        done = subprocess.run(self.docker(*words), capture_output=True, text=True)
        assert done.returncode == 0, (words, done.stdout, done.stderr)
        return done.stdout.strip()

    @contextlib.contextmanager
    def container(self, name: str) -> Iterator[FarEnd]:
        """A running container; its /dest is a directory here."""
        here = self.base / f"dest-{name}"
        here.mkdir()
        run = ["run", "-d", "--network", "none", "--name", name]
        self.call(*run, "-v", f"{here}:/dest", "farend", "sleep", "1000000")
        try:
            command = self.docker("exec", "-i", name, "sh")
            yield FarEnd(f"docker-{name}", command, "/dest", here, sub_second=False)
        finally:
            self.call("rm", "-f", name)

    @contextlib.contextmanager
    def composed(self, name: str) -> Iterator[FarEnd]:
        """A docker-compose service."""
        (compose,) = need("docker-compose")
        here = self.base / f"dest-{name}"
        here.mkdir()
        project = self.base / name
        project.mkdir()
        file = project / "docker-compose.yml"
        file.write_text(f"""\
version: "2.4"
services:
  {name}:
    image: farend
    command: [sleep, "1000000"]
    network_mode: none
    stop_grace_period: 0s
    volumes: ["{here}:/dest"]
""")
        words = [compose, "-H", f"unix://{self.socket}", "-f", str(file)]
        subprocess.run([*words, "up", "-d"], check=True, capture_output=True)
        try:
            command = [*words, "exec", "-T", name, "sh"]
            yield FarEnd("docker-compose", command, "/dest", here, sub_second=False)
        finally:
            subprocess.run(
                [*words, "down", "-t", "0"], check=False, capture_output=True
            )


@contextlib.contextmanager
def dockerd() -> Iterator[Docker]:
    """A Docker engine that starts in a plain machine: no storage driver, no bridge."""
    need_root()
    (engine,) = need("dockerd")
    need("docker")
    with place("fr-docker-") as base:
        root = base / "root"
        root.mkdir()
        busybox_root(root)
        with tarfile.open(base / "image.tar", "w") as archive:
            archive.add(root, arcname=".")
        notify = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        notify.bind(str(base / "notify"))
        argv = [engine, "--storage-driver=vfs", "--iptables=false", "--bridge=none"]
        argv += [f"--data-root={base}/data", f"--exec-root={base}/exec"]
        argv += ["-H", f"unix://{base}/docker.sock", "-p", f"{base}/pid"]
        environment = {**os.environ, "NOTIFY_SOCKET": str(base / "notify")}
        log = base / "log"
        try:
            with daemon(argv, log, env=environment):
                if not ready(notify, 60):
                    raise AssertionError(log.read_text(errors="replace")[-3000:])
                docker = Docker(base, base / "docker.sock")
                docker.call("import", str(base / "image.tar"), "farend")
                yield docker
        finally:
            notify.close()
            unmount_below(base)


@contextlib.contextmanager
def podman() -> Iterator[FarEnd]:
    """A container of Podman's, which needs no engine to run."""
    need_root()
    (program,) = need("podman")
    with place("fr-podman-") as base:
        root, here = base / "root", base / "dest"
        root.mkdir()
        here.mkdir()
        busybox_root(root)
        words = [program, "--root", f"{base}/data", "--runroot", f"{base}/run"]
        words += ["--storage-driver=vfs", "--cgroup-manager=cgroupfs"]
        words += ["--events-backend=file"]
        # Its default limits are higher than a container may set that it itself runs in.
        limits = ["--ulimit=nofile=1024:1024", "--ulimit=nproc=1024:1024"]
        run = ["run", "-d", "--network=none", *limits, "--name=box"]

        def call(*more: str) -> None:
            done = subprocess.run([*words, *more], capture_output=True, text=True)
            assert done.returncode == 0, (more, done.stdout, done.stderr)

        with tarfile.open(base / "image.tar", "w") as archive:
            archive.add(root, arcname=".")
        try:
            call("import", f"{base}/image.tar", "farend")
            call(*run, "-v", f"{here}:/dest", "farend", "sleep", "1000000")
            command = [*words, "exec", "-i", "box", "sh"]
            yield FarEnd("podman", command, "/dest", here, sub_second=False)
        finally:
            subprocess.run(
                [*words, "rm", "-f", "-t", "0", "box"], check=False, capture_output=True
            )
            unmount_below(base)


def ready(notify: socket.socket, timeout: float) -> bool:
    """Wait for READY=1 on a socket, sd_notify(3)."""
    notify.settimeout(timeout)
    try:
        while b"READY=1" not in notify.recv(4096).split(b"\n"):
            pass
    except TimeoutError:
        return False
    except OSError:
        return False
    return True


# --- file systems ---------------------------------------------------------------------


@contextlib.contextmanager
def mounted(
    where: Path, options: str = "size=1m", kind: str = "tmpfs"
) -> Iterator[Path]:
    """A tmpfs at ``where``: small, read-only, noexec, as ``options`` say; mount(8)."""
    need_root()
    (mount,) = need("mount")
    where.mkdir(exist_ok=True)
    subprocess.run([mount, "-t", kind, "-o", options, "farend", str(where)], check=True)
    try:
        yield where
    finally:
        unmount(where)


def remount(where: Path, options: str) -> None:
    (mount,) = need("mount")
    subprocess.run([mount, "-o", f"remount,{options}", str(where)], check=True)


def unmount(where: Path) -> None:
    # Lazily: a shell of a failed test may still stand in it.
    (umount,) = need("umount")
    subprocess.run([umount, "-l", str(where)], check=True)


def unmount_below(base: Path) -> None:
    """What a killed engine may leave: rmtree must not walk into a mount."""
    inside = []
    for line in Path("/proc/self/mounts").read_text().splitlines():
        where = line.split()[1]
        if where.startswith(f"{base}/"):
            inside.append(where)
    for where in reversed(inside):
        unmount(Path(where))


# --- a network of two -----------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class Network:
    """Two network namespaces joined by one cable; only these two can talk."""

    near: str
    far: str
    far_address: str

    def at(self, namespace: str) -> list[str]:
        (ip,) = need("ip")
        return [ip, "netns", "exec", namespace]

    def cable(self, state: str) -> None:
        """``down``: no packet arrives any more and nobody is told; ``up``: it does again."""
        ip("-n", self.near, "link", "set", "cable", state)


def ip(*words: str) -> None:
    (program,) = need("ip")
    done = subprocess.run([program, *words], capture_output=True, text=True)
    assert done.returncode == 0, (words, done.stderr)


@contextlib.contextmanager
def network() -> Iterator[Network]:
    need_root()
    near, far = f"fr{os.getpid()}near", f"fr{os.getpid()}far"
    with contextlib.ExitStack() as stack:
        for namespace in (near, far):
            ip("netns", "add", namespace)
            stack.callback(ip, "netns", "delete", namespace)
            ip("-n", namespace, "link", "set", "lo", "up")
        # 192.0.2.0/24 is kept for examples (RFC 5737): it is nobody's.
        joint = ["link", "add", "cable", "netns", near, "type", "veth"]
        ip(*joint, "peer", "name", "cable", "netns", far)
        for namespace, address in ((near, "192.0.2.1"), (far, "192.0.2.2")):
            ip("-n", namespace, "address", "add", f"{address}/24", "dev", "cable")
            ip("-n", namespace, "link", "set", "cable", "up")
        yield Network(near, far, "192.0.2.2")


@contextlib.contextmanager
def ssh_across(net: Network, base: Path) -> Iterator[FarEnd]:
    """An sshd in one namespace, reached from the other."""
    before = net.at(net.far)
    with sshd(base, address=net.far_address, before=before) as server:
        here = base / "dest"
        here.mkdir()
        command = [*net.at(net.near), *server.ssh(), "bash"]
        yield FarEnd("netns", command, str(here), here)
