"""The words that were typed, sorted out: options, places, and the connection command."""

from __future__ import annotations

import os

from filerep.command import USAGE, Stop
from filerep.pathstream import quote
from filerep.wrapper import mistakes, profiles

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

_HELP = ("-h", "--help", "-V", "--version")
_OF_ALL = ("--status", "--forget")  # what needs no other words
# What may be given more than once.
_AGAIN = ("--exclude", "--exclude-from", "--include", "--include-from", "--mirror")
_FILES = ("--exclude-from", "--include-from", "--events")
_OPPOSITES = (
    ("--clean-out-first", "--no-delete"),
    ("--clean-out-first", "--no-initial-replication"),
    ("--checksum", "--no-initial-replication"),
    ("--compress", "--no-compress"),
    ("--dry-run", "--no-initial-replication"),
    ("--dry-run", "--wait"),
    ("--dry-run", "--wait-on-sync"),
    ("--gitignore", "--no-gitignore"),
    ("--mirror", "--no-delete"),
    ("--mirror", "--no-initial-replication"),
    ("--once", "--replicate-on-change"),
    ("--no-replicate-on-change", "--replicate-on-change"),
    ("--quiet", "--debugging"),
    ("--quiet", "--verbose"),
    ("--retry", "--no-retry"),
    ("--whole-file", "--no-whole-file"),
    ("--each", "--run"),
    ("--run", "--dry-run"),
    ("--run", "--no-initial-replication"),
    ("--run", "--wait"),
    ("--run", "--wait-on-sync"),
    ("--with-initial-replication", "--no-initial-replication"),
)
EACH = "--each"
_SHORT = {"-n": "--dry-run", "-q": "--quiet", "-v": "--verbose"}


class Words:
    """What was typed, in its parts; `flat` is what docopt reads most easily.

    The connection command begins at the third word that is no option, or behind a ``--``
    after the second; a ``--`` further on is its own (``kubectl exec -i pod -- sh``).
    Those of --each go up to the next option or ``--``, or to a profile's name.
    """

    def __init__(self, words: list[str], takes_value: Mapping[str, bool]) -> None:
        # Each with its value, if that is a word apart.
        self.options: list[list[str]] = []
        self.places: list[str] = []
        self.lacks_value = ""  # the last option, if nothing comes behind it
        rest = list(words)
        ended = False
        while rest:
            word = rest.pop(0)
            if word == "--":
                if len(self.places) == 2:
                    break
                ended = True
            elif word.startswith(f"{EACH}=") and not ended:
                self.options.append([EACH, word[len(EACH) + 1 :]])
            elif word == EACH and not ended:
                self.options += [[EACH, one] for one in _listed(rest)]
                if rest[:1] == ["--"] and len(self.places) < 2:
                    mistakes.each_before_places()
            elif word.startswith("-") and word != "-" and not ended:
                value = [rest.pop(0)] if takes_value.get(word) and rest else []
                if takes_value.get(word) and not value:
                    self.lacks_value = word
                self.options.append([word, *value])
            elif len(self.places) == 2:
                rest.insert(0, word)
                break
            else:
                self.places.append(word)
        self.connection = rest

    def names(self) -> set[str]:
        """The options, by their long names."""
        found = set()
        for word, *_ in self.options:
            if word.startswith("--"):
                found.add(word.partition("=")[0])
            else:
                found |= {_SHORT.get(f"-{c}", f"-{c}") for c in word[1:]}
        return found

    def taken(self) -> list[str]:
        """An option whose value may have been meant for SRC_DIR, and that; or nothing."""
        if self.places and os.path.isdir(self.places[0]):
            return []
        found = [one for one in self.options if one[1:] and os.path.isdir(one[1])]
        return found[0] if found else []

    def each(self) -> list[str]:
        """What stands behind --each."""
        return [word for name, *words in self.options if name == EACH for word in words]

    def flat(self) -> list[str]:
        options = [word for option in self.options for word in option]
        places = [f"./{one}" if one.startswith("-") else one for one in self.places]
        return options + places + self.connection


def _listed(rest: list[str]) -> list[str]:
    """The words of --each, which are taken from ``rest``."""
    if rest[:1] in ([], ["--"]):
        mistakes.each_of_none()
    end = next((at for at, one in enumerate(rest) if one[:1] in ("-", "@")), len(rest))
    found, rest[:end] = rest[:end], []
    return found


class Typed:
    """What was typed, with what a profile adds to it."""

    def __init__(self) -> None:
        self.to_save: list[str] = []  # the words of a profile that says the same
        self.folder = ""  # where relative paths begin, if not here

    def arrange(self, words: list[str], takes_value: Mapping[str, bool]) -> list[str]:
        """``words`` as docopt can read them; raises ``Stop``."""
        typed = Words(words, takes_value)
        names = typed.names()
        if not names.isdisjoint(_HELP):
            return typed.flat()
        if "--save" not in names:
            mistakes.command_first(typed.places)
        for word, *_ in typed.options:
            if f"-{word}" in takes_value:
                mistakes.unknown_option(word, takes_value)
        mistakes.unquoted(typed.options, takes_value)
        for name in sorted(names):
            if name not in takes_value:
                mistakes.unknown_option(name, takes_value)
        if typed.lacks_value:
            mistakes.no_value(typed.lacks_value)
        for option in typed.options:
            name, _, value = option[0].partition("=")
            if name == "--save":
                mistakes.refuse_nameless(value or option[-1], typed.places)
        if not (typed.places or names.isdisjoint(_OF_ALL)):
            return typed.flat()
        if not typed.places or typed.places[0].startswith("@"):
            self._add_profile(typed, takes_value)
        _refuse_opposites(typed.names())
        saves = "--save" in typed.names()
        mistakes.missing(
            typed.places, typed.connection, typed.each(), saves, typed.taken()
        )
        apart = ("--save", EACH)
        kept = [one for one in typed.options if one[0].partition("=")[0] not in apart]
        self.to_save = [word for one in kept for word in one] + typed.places
        self.to_save += [EACH, *typed.each()] if typed.each() else []
        self.to_save += ["--", *typed.connection]
        return typed.flat()

    def _add_profile(self, typed: Words, takes_value: Mapping[str, bool]) -> None:
        asked = typed.places[0][1:] if typed.places else ""
        if typed.places[1:] or typed.connection:
            said = f"@{asked} stands for SRC_DIR and all that follows it"
            raise Stop(USAGE, f"{said}; for a directory of that name type ./@{asked}")
        found = profiles.find(asked or profiles.DEFAULT)
        if found is None:
            if not typed.places:
                return
            raise Stop(USAGE, mistakes.no_profile(asked or profiles.DEFAULT))
        kept = Words(profiles.read(found), takes_value)
        for name, *_ in kept.options:
            if name.startswith("--") and name.partition("=")[0] not in takes_value:
                mistakes.unknown_in_profile(found, name, takes_value)
        if len(kept.places) < 2 or not kept.connection:
            said = (
                "needs SRC_DIR, DEST_PARENT_DIR and CONNECTION_COMMAND, a word a line"
            )
            raise Stop(USAGE, f"{quote(found)} {said}")
        # Paths that were typed begin here, those in the profile where it is.
        here = [_absolute(option) for option in typed.options]
        names = typed.names()
        wins = [
            option for option in kept.options if not _is_overruled(option[0], names)
        ]
        typed.options = wins + here
        typed.places, typed.connection = kept.places, kept.connection
        self.folder = profiles.project(found)


def _is_overruled(word: str, typed: set[str]) -> bool:
    """Does what was typed say something else than ``word`` of a profile?"""
    name = _SHORT.get(word, word.partition("=")[0])
    if name in typed and name not in _AGAIN:
        return True
    if name == EACH:
        return False  # what {} stands for in the profile would be left without it
    return any(set(pair) - {name} <= typed for pair in _OPPOSITES if name in pair)


def _refuse_opposites(names: set[str]) -> None:
    for one, other in _OPPOSITES:
        if one in names and other in names:
            raise Stop(
                USAGE, f"{one} and {other} contradict each other; give one of them"
            )


def _absolute(option: list[str]) -> list[str]:
    """``option`` with the file that it names, if it does, as it is named from anywhere."""
    name, equals, value = option[0].partition("=")
    if name not in _FILES:
        return option
    if equals:
        return [f"{name}={_from_anywhere(name, value)}"]
    return [name, *(_from_anywhere(name, one) for one in option[1:])]


def _from_anywhere(name: str, value: str) -> str:
    # What is no file is refused, or a descriptor.
    if not value or name == "--events" and (value == "-" or value.isdigit()):
        return value
    return os.path.abspath(value)
