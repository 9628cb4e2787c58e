"""Write the manual pages and completions of all programs: python release/share.py DIRECTORY

Below DIRECTORY they stand where a prefix has them, share/man/man1 and so on. setup.py puts
them into the wheel in this way, so they are never older than the programs.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Dict

import completion
import manual
import usage


def files() -> Dict[str, str]:
    """Each file's path below a prefix, and what is in it."""
    found = {}
    for program in usage.MODULES:
        one = usage.read(program)
        found[f"share/man/man1/{program}.1"] = manual.page(one)
        bash = f"share/bash-completion/completions/{program}"
        found[bash] = completion.bash(one)
        found[f"share/zsh/site-functions/_{program}"] = completion.zsh(one)
        fish = f"share/fish/vendor_completions.d/{program}.fish"
        found[fish] = completion.fish(one)
    return found


def write(prefix: Path) -> None:
    for name, content in files().items():
        path = prefix / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)


if __name__ == "__main__":
    write(Path(sys.argv[1]))
