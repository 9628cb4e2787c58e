"""The directories of a watched tree: one node for each, and which wd stands for which.

A node never moves. A directory that leaves its place is dropped with its watches (its old
wds would go on reporting under the old name), and where it turns up it is taken in anew.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from filerep.rules.ignore import Rules


class Directory:
    """A directory of the tree, as it was when it was last listed."""

    __slots__ = ("children", "named", "parent", "path", "rules", "wd")

    def __init__(self, path: bytes, parent: Directory | None, rules: Rules) -> None:
        self.path = path
        self.parent = parent
        self.rules = rules
        # 0 where it is not watched, being unreadable or gone; the kernel starts at 1.
        self.wd = 0
        # Was every name in it given to pending?
        self.named = False
        self.children: dict[bytes, Directory] | None = None

    def name(self) -> bytes:
        return self.path.rpartition(b"/")[2]

    def join(self, name: bytes) -> bytes:
        return self.path + b"/" + name if self.path else name

    def child(self, name: bytes) -> Directory | None:
        return self.children.get(name) if self.children else None

    def add(self, name: bytes) -> Directory:
        """A new node for the directory ``name`` in this one."""
        node = Directory(self.join(name), self, self.rules)
        if self.children is None:
            self.children = {}
        self.children[name] = node
        return node

    def detach(self) -> None:
        if self.parent and self.parent.children:
            del self.parent.children[self.name()]

    def attached(self) -> bool:
        """Is it still in the tree?"""
        node = self
        while node.parent:
            if node.parent.child(node.name()) is not node:
                return False
            node = node.parent
        return True

    def find(self, path: bytes) -> Directory | None:
        """The node at ``path`` below this one."""
        node: Directory | None = self
        for name in path.split(b"/") if path else ():
            node = node.child(name) if node else None
        return node

    def family(self) -> Iterator[Directory]:
        """This directory and those below, as they are when it comes to them."""
        rest = [self]
        while rest:
            node = rest.pop()
            if node.children:
                rest.extend(node.children.values())
            yield node
