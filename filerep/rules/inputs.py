"""What the rules depend on, for who follows a tree while it changes."""

from __future__ import annotations

import os

from filerep.rules import repository
from filerep.rules.worktree import NO_INPUTS, Inputs

TYPE_CHECKING = False
if TYPE_CHECKING:
    from filerep.rules.ignore import Rules
    from filerep.rules.tracked import Changes


def inputs_of(rules: Rules) -> Inputs:
    """What a link's answers, and those of links below, depend on outside of SRC.

    ``NO_INPUTS`` for most links: only SRC itself has some, and a directory with a `.git` in it.
    The paths are absolute and need not be there. When one of ``rules`` changes, the link is to be
    made anew (by ``load``, or by ``enter`` of its parent), and those below it if it is not
    ``alike``. When ``index`` changes, ``reload_tracked`` says what is to be done. Beside these,
    what happens to a ``rule_file`` in SRC changes the link of its directory.
    """
    tree = rules.tree
    if rules.parent is None:
        own = tree.inputs() if tree else NO_INPUTS
        files = (*rules.origin.above, *own.rules, *rules.origin.own.files)
        return Inputs(files, own.index, tuple(rules.origin.absent))
    if not rules.begins:
        return NO_INPUTS
    if tree and tree is not rules.parent.tree:
        return tree.inputs()
    place = os.path.join(rules.origin.root, rules.path())
    return Inputs(tuple(repository.deciders(place)))


def reload_tracked(rules: Rules) -> Changes | None:
    """To be called when ``inputs_of(rules).index`` has changed: None if no answer has.

    Else the links give the new answers already, and what is returned says where they
    may differ, by paths from SRC. ``paths`` are tracked now and were not, or the
    other way round; whether they count is to be asked, from the top down, since a
    directory on the way may come to count by what is tracked in it, or no longer.
    ``places`` are directories whose rule file git takes from the index and is
    another, or where a repository inside begins or ends: their links are to be made
    anew, with all below. b"" among them asks for ``load``.
    """
    tracked = rules.tree.tracked if rules.tree else None
    changes = tracked.reload() if tracked else None
    if changes is None:
        return None
    base, start = rules.path(b""), rules.within(b"")
    paths = [base + p[len(start) :] for p in changes.paths if p.startswith(start)]
    places = [
        (base + place[len(start) :]) if place.startswith(start) else rules.path()
        for place in changes.places
        if place.startswith(start) or start.startswith(place and place + b"/")
    ]
    changes.paths, changes.places = paths, sorted(set(places))
    return changes if paths or places else None


def alike(rules: Rules, other: Rules) -> bool:
    """Do both say the same of a directory, and of all below by inheritance?

    But for what is tracked, of which ``reload_tracked`` tells.
    """
    return _said(rules) == _said(other)


def _said(rules: Rules) -> object:
    repo = rules.tree.repo if rules.tree else None
    tracked = rules.tree.tracked if rules.tree else None
    return (
        [level.said() for level in rules.chain],
        rules.own.said() if rules.own else None,
        rules.ignored,
        rules.origin.made_up,
        rules.tree is not None and rules.tree.fold,
        repo and (repo.git_dir, repo.common, repo.top),
        tracked and tracked.width,
    )
