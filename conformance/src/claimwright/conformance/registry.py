"""The requirements of the suite, read from `requirements/*.yaml`, one text file per area.

The text files are the source of truth: checks carry only ids. A malformed entry is a defect of the suite and
is reported with its file, its id and the rule that it breaks.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cache
from importlib.resources import files
from typing import Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from claimwright.conformance.errors import SuiteError, UsageError
from claimwright.conformance.outcomes import Level


class Requirement(BaseModel):
    """One rule for a driver, with what is observed to judge it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: str = Field(pattern=r"^DRA-[A-Z]+-\d{3}[a-z]?$")
    title: str
    level: Level
    since: str
    k8s: str
    features: tuple[str, ...] = ()
    layer: Literal["L0", "L1"]
    maps_to: tuple[str, ...] = Field(min_length=1)
    rationale: str
    oracle: str
    budget_s: float = Field(gt=0)
    mutants: tuple[str, ...] | Literal["planned"] = ()
    evidence: tuple[str, ...] = ()
    own_instance: bool = False

    @property
    def area(self) -> str:
        """Return the middle word of the id: REG, PREP …."""
        return self.id.split("-")[1]

    @property
    def killers_of(self) -> tuple[str, ...]:
        """Return the mutants that this requirement must kill; empty while they are planned."""
        return () if self.mutants == "planned" else self.mutants


@cache
def load_registry() -> Mapping[str, Requirement]:
    """Return all requirements by id, in the order of the files' names and lines."""
    found: dict[str, Requirement] = {}
    for requirement in _read_all():
        if requirement.id in found:
            raise SuiteError(f"requirement {requirement.id} is defined twice; ids are never reused")
        found[requirement.id] = requirement
    return found


def find_requirement(identifier: str) -> Requirement:
    """Return one requirement; an unknown id is the user's to correct."""
    try:
        return load_registry()[identifier.upper()]
    except KeyError:
        raise UsageError(
            f"{identifier!r} is no requirement id; `claimwright conformance list` shows all"
        ) from None


def _read_all() -> Iterator[Requirement]:
    folder = files("claimwright.conformance") / "requirements"
    for file in sorted(folder.iterdir(), key=lambda entry: entry.name):
        if file.name.endswith(".yaml"):
            yield from _read(file.name, file.read_text(encoding="utf-8"))


def _read(name: str, text: str) -> Iterator[Requirement]:
    for entry in yaml.safe_load(text):
        try:
            yield Requirement.model_validate(entry)
        except ValidationError as error:
            raise SuiteError(f"requirements/{name}: {entry.get('id', entry)}: {error}") from error
