"""Make one file that runs wherever there is a Python: python release/pyz.py [FILE]

It holds all four programs and what they need, which is pure Python: file-replicator, and under
the name of a filter (a link to it, say) that filter. Needs pip and its index.
"""

from __future__ import annotations

import configparser
import shutil
import subprocess
import sys
import tempfile
import zipapp
from pathlib import Path
from typing import List

ROOT = Path(__file__).resolve().parent.parent
OLDEST = "3.9"  # what is fetched must run on it, whatever makes the file

_MAIN = """\
import sys

if sys.version_info < (3, 9):
    version = "%d.%d" % sys.version_info[:2]
    text = "file-replicator: needs Python 3.9 or newer; %s is %s\\n"
    sys.stderr.write(text % (sys.executable, version))
    sys.exit(71)

from importlib import import_module
from os.path import basename

from filerep.command import leave

programs = {"fr-walk": "walk", "fr-watch": "watch", "fr-pack": "pack"}
name = basename(sys.argv[0]).partition(".")[0]
leave(import_module("filerep." + programs.get(name, "replicate")).main())
"""


def requirements() -> List[str]:
    """All that is needed on any system: it is not known where the file will run."""
    settings = configparser.ConfigParser()
    settings.read(ROOT / "setup.cfg")
    lines = settings["options"]["install_requires"].split("\n")
    return [line.partition(";")[0].strip() for line in lines if line.strip()]


def fetch(wanted: List[str], where: Path) -> None:
    words = [sys.executable, "-m", "pip", "install", "--quiet", "--no-compile"]
    words += ["--target", str(where), "--python-version", OLDEST, "--only-binary=:all:"]
    words += ["--implementation", "py", "--abi", "none", "--platform", "any"]
    subprocess.run([*words, *wanted], check=True)


def make(target: Path) -> None:
    """Write the file."""
    with tempfile.TemporaryDirectory() as name:
        tree = Path(name)
        fetch(requirements(), tree)
        for unused in ("bin", "share"):
            shutil.rmtree(tree / unused, ignore_errors=True)
        leave_out = shutil.ignore_patterns("__pycache__")
        shutil.copytree(ROOT / "filerep", tree / "filerep", ignore=leave_out)
        shutil.copy(ROOT / "LICENSE", tree)
        (tree / "__main__.py").write_text(_MAIN)
        target.parent.mkdir(parents=True, exist_ok=True)
        zipapp.create_archive(tree, target, "/usr/bin/env python3", compressed=True)
        target.chmod(0o755)


if __name__ == "__main__":
    made = Path(sys.argv[1] if len(sys.argv) > 1 else ROOT / "dist/file-replicator.pyz")
    make(made)
    print(made)
