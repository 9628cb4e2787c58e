"""Make docs/session.svg, the picture in README.md, from a real run over ssh.

What stands in it was typed and answered just so: a shell on a pseudo-terminal is given one
command after the other, each once the one before has had its effect.
"""

from __future__ import annotations

import fcntl
import html
import os
import pty
import re
import select
import shutil
import struct
import subprocess
import termios
from pathlib import Path

import farends
from programs import ROOT, environment, read_until

PICTURE = ROOT / "docs/session.svg"
PROMPT = "$ "
COLUMNS = 96
# Each command, and what stands on the terminal when it has had its effect.
COMMANDS = [
    ("file-replicator my_project /tmp/code -- ssh host sh &", "watching"),
    ("echo '# more to come' >> my_project/README.md", "README.md"),
    ("git -C my_project switch -q next", "removed"),
    ("mv my_project/tests my_project/checks", "checks/"),
    (
        "file-replicator --wait my_project /tmp/code -- ssh host sh && echo there",
        "there",
    ),
    ("ssh host ls /tmp/code/my_project", "README.md"),
]


def project(path: Path) -> None:
    """A repository with two branches and something to ignore."""
    git = ["git", "-c", "user.name=n", "-c", "user.email=e", "-C", str(path)]
    for number in range(1200):
        file = path / f"src/part{number % 40}/module{number}.py"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("# code\n" * (number * 7 % 2000))
    (path / "README.md").write_text("# My project\n")
    (path / "tests").mkdir()
    for name in "abc":
        (path / f"tests/test_{name}.py").write_text("assert True\n")
    (path / ".gitignore").write_text("build/\n")
    (path / "build").mkdir()
    (path / "build/large").write_bytes(bytes(1_000_000))
    steps = [["init", "-q", "-b", "main"], ["add", "."], ["commit", "-qm", "begin"]]
    steps += [["switch", "-qc", "next"]]
    for words in steps:
        subprocess.run([*git, *words], check=True)
    shutil.rmtree(path / "src/part7")
    for number in range(12):
        (path / f"src/part{number + 8}/module{number + 8}.py").write_text("new\n")
    for words in (["add", "-A"], ["commit", "-qm", "next"], ["switch", "-q", "main"]):
        subprocess.run([*git, *words], check=True)


def record(base: Path) -> str:
    """What the terminal showed."""
    with farends.sshd(base / "sshd") as server:
        tools = base / "bin"
        tools.mkdir()
        config = server.config
        config.write_text(config.read_text().replace("Host far", "Host far host"))
        (tools / "ssh").write_text(f'#!/bin/sh\nexec /usr/bin/ssh -F {config} "$@"\n')
        (tools / "ssh").chmod(0o755)
        work = base / "work"
        project(work / "my_project")
        env = environment(TERM="xterm", PS1=PROMPT, LC_ALL="C.UTF-8", HISTFILE="")
        env["PATH"] = f"{tools}:{env['PATH']}"
        env["XDG_STATE_HOME"] = str(base / "state")
        master, slave = pty.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 40, COLUMNS, 0, 0))
        words = ["bash", "--norc", "--noprofile", "--noediting", "-i"]
        shell = subprocess.Popen(
            words,
            cwd=work,
            env=env,
            stdin=slave,
            stdout=slave,
            stderr=slave,
            preexec_fn=lambda: (os.setsid(), fcntl.ioctl(slave, termios.TIOCSCTTY, 0)),
        )
        shown = read_until(master, PROMPT.encode()).decode()
        try:
            for command, effect in COMMANDS:
                os.write(master, command.encode() + b"\n")
                echoed = read_until(master, b"\n").decode()
                answer = read_until(master, effect.encode()).decode()
                answer += rest(master)
                shown += echoed + answer
        finally:
            shell.kill()
            shell.wait()
            os.close(slave)
            os.close(master)
    return shown


def rest(master: int) -> str:
    """What comes until a moment has passed without anything: nothing says it is over."""
    got = b""
    while select.select([master], [], [], 0.7)[0]:
        got += os.read(master, 1 << 16)
    return got.decode()


def screen(shown: str) -> list[str]:
    """The lines as they stand at the end; a bar once, as it was half-way."""
    lines = []
    for line in shown.replace("\r\n", "\n").split("\n"):
        frames = [part.rstrip() for part in line.split("\r") if part.strip(" $")]
        bars = [part for part in frames if re.search(r"\d% ?\|", part)]
        if bars:
            lines.append(bars[len(bars) // 2])
        if frames:
            lines.append(frames[-1])
    # What a job in the background says stands behind the prompt for the next command.
    typed = {command for command, _ in COMMANDS}
    lines = [line[len(PROMPT) :] if line.startswith(PROMPT) else line for line in lines]
    return [PROMPT * (line in typed) + line for line in lines if line]


def coloured(line: str) -> str:
    """A line for the picture; what stands in green there is green here."""
    parts = re.split(r"\x1b\[([0-9;]*)m", line)
    shown = html.escape(parts[0])
    for colour, text in zip(parts[1::2], parts[2::2]):
        said = html.escape(text)
        shown += f'<tspan fill="#6fbf73">{said}</tspan>' if colour == "32" else said
    return shown


def svg(lines: list[str]) -> str:
    height = 20 * len(lines) + 24
    rows = []
    for number, line in enumerate(lines):
        kind = "typed" if line.startswith(PROMPT) else "said"
        y = 26 + 20 * number
        rows.append(
            f'<text class="{kind}" x="14" y="{y}" xml:space="preserve">'
            f"{coloured(line)}</text>"
        )
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" width="{28 + COLUMNS * 8.6:.0f}"'
            f' height="{height}" font-family="monospace" font-size="14">',
            "<style>.typed{fill:#f0f0f0;font-weight:bold}.said{fill:#b8c4b8}</style>",
            '<rect width="100%" height="100%" rx="6" fill="#20242a"/>',
            *rows,
            "</svg>",
            "",
        ]
    )


def main() -> None:
    with farends.place("fr-record-") as base:
        shown = record(base)
    shutil.rmtree("/tmp/code", ignore_errors=True)
    lines = screen(shown)
    PICTURE.write_text(svg(lines))
    print("\n".join(lines))


if __name__ == "__main__":
    main()
