"""Which rule decides about a path: fr-walk --why, as `git check-ignore` tells it."""

from __future__ import annotations

import os

from filerep.rules.ignore import REPOSITORY
from filerep.rules.rulefile import Rule
from filerep.rules.userrules import EDITORS_SHOWN
from filerep.rules.walking import OPEN_DIR

TYPE_CHECKING = False
if TYPE_CHECKING:
    from filerep.rules.ignore import Rules

#: Stands for the rule that what git tracks counts, whatever the others say.
TRACKED = Rule(b"git ls-files", 0, b"!")
#: Stands for the rule that what the kernel makes up does not count.
MADE_UP = Rule(b"kernel", 0, b"*")


def explain(root: bytes, path: bytes, rules: Rules) -> Rule | None:
    """The rule that decides about ``path``, which need not be there; None if none does.

    As `git check-ignore` has it, a path that ends in ``/`` asks for what is in the
    directory and has no name.
    """
    names = path.split(b"/")
    held: Rule | None = None
    fd = os.open(root, OPEN_DIR & ~os.O_NOFOLLOW)
    try:
        for at, name in enumerate(names, 1):
            last = at == len(names)
            if last and not name:
                return why(rules, name, fd >= 0) or held
            if fd >= 0:
                above, fd = fd, -1
                try:
                    fd = os.open(name, OPEN_DIR, dir_fd=above)
                except OSError:
                    pass  # not a directory, or not there: by its spelling
                finally:
                    os.close(above)
            if last:
                absent = not os.path.lexists(os.path.join(root, path))
                is_dir = fd >= 0 or absent and rules.tracks(name, True)
                return why(rules, name, is_dir) or held
            rule = why_enter(rules, name)
            if not names[-1] and at == len(names) - 1:
                whole = why(rules, name, True)
                rule = whole if whole is TRACKED else rule
            if rule is TRACKED or not rules.counts(name, True):
                return rule or held
            # An include holds for all below; so does what leaves a directory out that
            # is entered for the sake of an include or a tracked file.
            held = rule if rule and not rule.keep else held
            rules = rules.enter(name, fd if fd >= 0 else None)
    finally:
        if fd >= 0:
            os.close(fd)
    return held


def quotes_bytes(rules: Rules) -> bool:
    """Does git, asked here, print bytes beyond ASCII as numbers?"""
    return rules.tree is None or rules.tree.settings.quote_path


def why(rules: Rules, name: bytes, is_dir: bool) -> Rule | None:
    """The rule that decides about the entry, ``TRACKED``, or None when none does."""
    own = rules.own
    if rules.is_made_up(name):
        return MADE_UP
    rule = own.why(name, is_dir, rules.ignored, rules) if own else None
    if rule or own and own.inside:
        return rule
    tracked = rules.tree.tracked if rules.tree else None
    if rules.tracks(name, is_dir):
        # Here git regards case, whatever its settings say.
        if is_dir or not tracked or not tracked.spelling(rules.within(name)):
            return TRACKED
    return _why_git(rules, name, is_dir)


def why_enter(rules: Rules, name: bytes) -> Rule | None:
    """The rule that decides about what is in the directory, as far as it is up to it.

    A tracked file in it does not change that.
    """
    own = rules.own
    if rules.is_made_up(name):
        return MADE_UP
    rule = own.why(name, True, rules.ignored, rules) if own else None
    return rule if rule or own and own.inside else _why_git(rules, name, True)


def _why_git(rules: Rules, name: bytes, is_dir: bool) -> Rule | None:
    if rules.is_repository(name) and rules.origin.gitignore:
        return Rule(b"git", 0, REPOSITORY)
    for level in rules.chain:
        if rule := level.find(name, is_dir):
            # That a directory is no editor's file is no rule to tell of.
            return None if rule.keep and rule.source == EDITORS_SHOWN else rule
    return None
