"""A node's tree in parts: each is rendered anew only when the facts that it tells of differ."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable
from dataclasses import dataclass, field

from claimwright.emulator.files.tree import Tree
from claimwright.emulator.model import NodeState


@dataclass(frozen=True, slots=True)
class Part:
    """Files that change together: equal `facts` give the same files, so `render` is not called again."""

    key: Hashable
    facts: object
    render: Callable[[], Tree]


Subject = Callable[[NodeState], Iterable[Part]]


def rendered(subjects: Iterable[Subject], state: NodeState) -> Tree:
    """Return the whole tree of these subjects at once."""
    return {
        path: entry
        for subject in subjects
        for part in subject(state)
        for path, entry in part.render().items()
    }


@dataclass(slots=True)
class PartedTree:
    """Follows states; not thread-safe. `entries` and `folders` (names by folder) are what is there now."""

    subjects: tuple[Subject, ...]
    entries: Tree = field(default_factory=dict)
    folders: dict[str, dict[str, int]] = field(default_factory=lambda: {"": {}})
    _known: dict[Hashable, tuple[object, Tree]] = field(default_factory=dict)
    _shown: NodeState | None = None

    def follow(self, state: NodeState) -> None:
        """Make the tree that of this state; parts may not share a path."""
        if state is self._shown:
            return
        self._shown = state
        stale = dict(self._known)
        fresh: list[tuple[Tree, Tree]] = []
        for subject in self.subjects:
            for part in subject(state):
                known = stale.pop(part.key, None)
                if known is None or known[0] != part.facts:
                    tree = part.render()
                    fresh.append(({} if known is None else known[1], tree))
                    self._known[part.key] = (part.facts, tree)
        for key, (_facts, tree) in stale.items():  # first: what moves from one part to another is added later
            del self._known[key]
            self._replace(tree, {})
        for before, after in fresh:
            self._replace(before, {})
            self._replace({}, after)

    def _replace(self, before: Tree, after: Tree) -> None:
        for path in before:
            if self.entries.pop(path, None) is not None:
                self._forget(path)
        for path, entry in after.items():
            if path not in self.entries:
                self._list(path)
            self.entries[path] = entry

    def _list(self, path: str) -> None:
        """Count a path in its folder, and folders in theirs when they are new."""
        folder, _, name = path.rpartition("/")
        new = folder not in self.folders
        names = self.folders.setdefault(folder, {})
        names[name] = names.get(name, 0) + 1
        if new:
            self._list(folder)

    def _forget(self, path: str) -> None:
        folder, _, name = path.rpartition("/")
        names = self.folders[folder]
        names[name] -= 1
        if not names[name]:
            del names[name]
        if not names and folder:
            del self.folders[folder]
            self._forget(folder)
