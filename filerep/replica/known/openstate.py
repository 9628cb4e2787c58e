"""The file of --state opened, and what is said where it cannot be used or does not tell all."""

from __future__ import annotations

import contextlib
import os

from filerep import command
from filerep.command import Command, Stop
from filerep.pathstream import quote
from filerep.replica.known import staterows
from filerep.replica.known.statefile import Busy, Foreign, State
from filerep.replica.known.staterows import Remembered
from filerep.replica.known.statewriter import FORGOTTEN

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Optional


def open_(run: Command, wire: bool) -> Optional[State]:
    """The state file, which no other run has; None if it cannot be had and need not be.

    ``wire``: it is file-replicator's, in a place of its own, and can be done without.
    """
    path = run.args["--state"]
    try:
        return State(os.fsencode(path), wire)
    except Busy:
        said = f"{quote(path)} is in use by another run"
        raise Stop(command.UNAVAILABLE, said) from None
    except OSError as error:
        if wire:
            say_forgotten(run, error)
            # What it says may not be so any more by the next start.
            with contextlib.suppress(OSError):
                os.unlink(path)
            return None
        said = f"cannot use {quote(path)}: {command.reason(error)}"
        raise Stop(command.IO_ERROR, said) from None


def say_forgotten(run: Command, error: OSError) -> None:
    run.say(f"cannot write the state file, {command.reason(error)}: {FORGOTTEN}")


def tidied(run: Command, state: State) -> Remembered:
    """What the state file of a filter says; raises ``Stop``."""
    path = quote(run.args["--state"])
    try:
        remembered = state.tidy()
    except Foreign:
        said = f"{path} is neither empty nor a state file: it is left as it is"
        raise Stop(command.USAGE, said) from None
    except OSError as error:
        said = f"cannot write {path}: {command.reason(error)}"
        raise Stop(command.IO_ERROR, said) from None
    lost = _lost(remembered)
    if lost:
        run.say(f"the state file {path} {lost}: some of it is sent anew")
    return remembered


def recall(run: Command, state: Optional[State]) -> Remembered:
    """What file-replicator's state file says; ``state`` is None in a dry run, which leaves it as it is.

    Raises OSError.
    """
    if state is not None:
        kept = state.tidy()
    elif run.args["--state"]:
        try:
            with open(run.args["--state"], "rb") as file:
                kept = staterows.read(file.fileno())
        except FileNotFoundError:
            return Remembered()
    else:
        return Remembered()
    lost = _lost(kept)
    if lost:
        run.say(
            f"the state file {lost}: of what is removed here while nothing runs, what was"
            " changed at the far end stays there"
        )
    return kept


def _lost(remembered: Remembered) -> str:
    """Why a state file does not tell all, in words; nothing if it does."""
    if remembered.form not in ("empty", "ours"):
        return "is another version's, and begins anew"
    if remembered.damaged:
        return "is damaged, and what is no good in it was left out"
    return "may not tell all that was sent" if remembered.old else ""
