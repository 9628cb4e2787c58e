"""Tools as BSD has them: GNU's, but for what BSD's refuse, and a stat of its own.

A far end with these is as near to one with macOS as a Linux machine can be.
"""

from __future__ import annotations

import sys
from pathlib import Path

from farends import SYSTEM_PATH, need

# What each tool refuses, as patterns of `case`.
_REFUSED = {
    "cp": "--* | -*[TtZ]*",
    "date": "--* | -d",
    "dd": "iflag=* | oflag=*",
    "find": "-printf | -printf0 | -regextype | -readable | -executable",
    "head": "--*",
    "id": "--*",
    "ls": "--*",
    "mkdir": "--*",
    "mv": "--* | -*[TtuZ]*",
    "rm": "--*",
    "rmdir": "--*",
    "sed": "--* | -s | -z",
    "tail": "--*",
    "touch": "--* | -h*d*",
}
_ABSENT = ("dash", "md5sum", "realpath", "setsid", "sha1sum", "sha256sum")

_STAT = '''#!{python}
"""stat -f FORMAT FILE...: what this uses of stat(1) of FreeBSD and macOS."""
import os, sys
words = sys.argv[1:]
if len(words) < 2 or words[0] != "-f":
    sys.exit("stat: illegal option -- " + (words[0].lstrip("-")[:1] if words else ""))
for name in words[2:]:
    try:
        status = os.lstat(name)
    except OSError as error:
        print(f"stat: {{name}}: stat: {{error.strerror}}", file=sys.stderr)
        continue
    seconds, below = divmod(status.st_mtime_ns, 10**9)
    line = words[1].replace("%p", format(status.st_mode, "o")).replace("%z", str(status.st_size))
    line = line.replace("%Fm", f"{{seconds}}.{{below:09}}").replace("%N", name)
    line = line.replace("%d", str(status.st_dev)).replace("%i", str(status.st_ino))
    sys.stdout.buffer.write(os.fsencode(line) + b"\\n")
'''


def bsd_tools(directory: Path) -> str:
    """A PATH of nothing but such tools, and bsdtar; `sh` is bash."""
    if directory.exists():
        return str(directory)
    directory.mkdir()
    for place in reversed(SYSTEM_PATH.split(":")):
        for program in Path(place).glob("*"):
            (directory / program.name).unlink(missing_ok=True)
            (directory / program.name).symlink_to(program)
    for name in (*_ABSENT, *_REFUSED, "stat", "tar", "sh"):
        (directory / name).unlink(missing_ok=True)
    for name, refused in _REFUSED.items():
        (program,) = need(name)
        (directory / name).write_text(
            f"#!/bin/sh\nfor w; do case $w in {refused})\n"
            f'  echo "{name}: illegal option -- $w" >&2; exit 64 ;;\n'
            f'esac; done\nexec {program} "$@"\n'
        )
        (directory / name).chmod(0o755)
    (directory / "stat").write_text(_STAT.format(python=sys.executable))
    (directory / "stat").chmod(0o755)
    (directory / "tar").symlink_to(*need("bsdtar"))
    (directory / "sh").symlink_to(*need("bash"))
    return str(directory)
