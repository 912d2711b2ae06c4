"""Edits by name: recipes write calls, makers turn them into CDI edits of this node."""

from __future__ import annotations

import functools
import operator
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Any, Final, TypeAlias

from claimwright.dra.cdi import ContainerEdits
from claimwright.driver.errors import StepFailed

EditCall: TypeAlias = Mapping[str, Any]
# Raises StepFailed when what the container needs is not there.
EditMaker: TypeAlias = Callable[[EditCall], ContainerEdits]
_NAME: Final = "of"


def call(name: str, **arguments: Any) -> EditCall:  # noqa: ANN401  JSON values
    """Name edits and what they depend on."""
    return {_NAME: name, **arguments}


class EditBook:
    """The makers of this driver by name; those of `slow` ask more than a few files."""

    def __init__(self, makers: Mapping[str, EditMaker], slow: Collection[str] = ()) -> None:
        self._makers = dict(makers)
        self._slow = frozenset(slow)

    def is_quick(self, calls: Iterable[EditCall]) -> bool:
        """Tell whether the edits are made in well under a millisecond."""
        return all(each[_NAME] not in self._slow for each in calls)

    def make(self, calls: Iterable[EditCall]) -> ContainerEdits:
        """Make and join the edits of all `calls`, in their order."""
        made = [self._maker(each)(each) for each in calls]
        # One alone stays the object that its maker returned, which callers may recognise.
        return functools.reduce(operator.add, made) if made else ContainerEdits()

    def _maker(self, each: EditCall) -> EditMaker:
        maker = self._makers.get(each[_NAME])
        if maker is None:
            raise StepFailed(
                f"container edits {each[_NAME]!r} are unknown to this version, which has "
                f"{', '.join(sorted(self._makers))}. Start the version that wrote the journal."
            )
        return maker
