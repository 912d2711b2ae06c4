"""How each exported function is answered, read from the sources and from the table of answers."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum

_BODY = re.compile(r"^([A-Z_]+)\((nvml\w+)[,)]", re.MULTILINE)
_ALIAS = re.compile(r"^ALIAS\((nvml\w+), (nvml\w+)\)", re.MULTILINE)
_FIXED = {"FIXED", "CONSTANT"}


class Way(StrEnum):
    """Where an answer comes from."""

    LIBRARY = "library"  # C: reads the shared pages, or what the process has
    NODE = "node"  # the node's process answers from the model
    BOTH = "library, node"  # the pages tell of a GPU, the node of a MIG device
    FIXED = "always the same"  # no state and no board changes it
    NOTHING = "not supported"


@dataclass(frozen=True, slots=True)
class Answered:
    """One function's way, and the file that answers: `library/clocks.c`, `answers/mig.py`; empty for none."""

    way: Way
    where: str = ""

    @property
    def behaves(self) -> bool:
        """Whether the answer depends on the state or on the board."""
        return self.way not in {Way.FIXED, Way.NOTHING}


def read_behaviour(
    names: Iterable[str],
    sources: Mapping[str, str],
    answers: Mapping[str, str],
    fixed: frozenset[str] = frozenset(),
) -> Mapping[str, Answered]:
    """Return how each name is answered.

    `sources` are C texts by file name, `answers` Python modules by function; those of `fixed` are always the same.
    """
    bodies, aliases = _read_sources(sources)
    found = {name: _answered(aliases.get(name, name), bodies, answers) for name in names}
    return found | {name: Answered(Way.FIXED, found[name].where) for name in fixed & found.keys()}


def _read_sources(sources: Mapping[str, str]) -> tuple[Mapping[str, tuple[bool, str]], Mapping[str, str]]:
    bodies: dict[str, tuple[bool, str]] = {}
    aliases: dict[str, str] = {}
    for file, text in sources.items():
        aliases |= dict(_ALIAS.findall(text))
        for macro, name in _BODY.findall(text):
            if macro != "ALIAS":
                bodies[name] = (macro in _FIXED, f"library/{file}")
    return bodies, aliases


def _answered(name: str, bodies: Mapping[str, tuple[bool, str]], answers: Mapping[str, str]) -> Answered:
    node = f"answers/{answers[name]}.py" if name in answers else ""
    if name not in bodies:
        return Answered(Way.NODE, node) if node else Answered(Way.NOTHING)
    fixed, where = bodies[name]
    if node:
        return Answered(Way.BOTH, f"{where}, {node}")
    return Answered(Way.FIXED if fixed else Way.LIBRARY, where)
