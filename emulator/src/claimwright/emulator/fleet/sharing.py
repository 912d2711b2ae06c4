"""Keep one copy of what many nodes have in common."""

from __future__ import annotations

import sys
from dataclasses import fields, replace
from typing import Any, TypeVar

from claimwright.emulator.files.tree import Entry, Tree
from claimwright.emulator.model import GpuState, NodeState

ValueT = TypeVar("ValueT", NodeState, GpuState)


class Shared:
    """The first node's values stand for equal ones of later nodes; the first file for equal files."""

    def __init__(self) -> None:
        self._first: dict[str, NodeState] = {}
        self._files: dict[Entry, Entry] = {}

    def state(self, state: NodeState) -> NodeState:
        """Return an equal state that shares with the first node of the same profile."""
        first = self._first.setdefault(state.profile, state)
        if first is state or len(first.gpus) != len(state.gpus):
            return state
        gpus = tuple(_sharing(gpu, model) for gpu, model in zip(state.gpus, first.gpus, strict=True))
        return replace(_sharing(state, first), gpus=gpus)

    def tree(self, tree: Tree) -> Tree:
        """Return an equal tree of shared paths and files."""
        return {sys.intern(path): self._files.setdefault(entry, entry) for path, entry in tree.items()}


def _sharing(value: ValueT, model: ValueT) -> ValueT:
    """Take each member from the model where it is equal, and large enough to matter."""
    members: dict[str, Any] = {}
    for each in fields(value):
        mine, other = getattr(value, each.name), getattr(model, each.name)
        if mine is not other and not isinstance(mine, int | float | None) and mine == other:
            members[each.name] = other
    return replace(value, **members) if members else value
