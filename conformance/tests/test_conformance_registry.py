"""The guards of the registry: nothing without a check, no MUST without a mutant, no mutant without a killer."""

from __future__ import annotations

import importlib
import pkgutil

import pytest

from claimwright.conformance import checks
from claimwright.conformance.errors import UsageError
from claimwright.conformance.mutants.zoo import load_zoo
from claimwright.conformance.outcomes import Level
from claimwright.conformance.registry import Requirement, find_requirement, load_registry

# MUSTs whose mutants come with later issues. The number may only fall.
PLANNED_AT_MOST = 40


def _functions() -> dict[str, object]:
    names = [f"{checks.__name__}.{one.name}" for one in pkgutil.iter_modules(checks.__path__)]
    modules = [importlib.import_module(name) for name in names]
    return {
        name: value for module in modules for name, value in vars(module).items() if name.startswith("test_")
    }


def _marked() -> dict[str, str]:
    marks = [(name, mark) for name, value in _functions().items() for mark in value.pytestmark]
    return {name: mark.args[0] for name, mark in marks if mark.name == "requirement"}


def test_every_requirement_has_exactly_one_check():
    assert sorted(_marked().values()) == sorted(load_registry())


def test_every_check_is_marked():
    assert set(_functions()) == set(_marked())


def test_there_are_at_least_forty_requirements():
    assert len(load_registry()) >= 40


@pytest.mark.parametrize("requirement", load_registry().values(), ids=lambda one: one.id)
def test_a_must_names_a_mutant_or_says_that_it_is_planned(requirement: Requirement):
    if requirement.level is Level.MUST:
        assert requirement.mutants, f"{requirement.id} is a MUST that nothing proves able to fail"
    else:
        assert requirement.mutants != "planned"


def test_planned_mutants_only_become_fewer():
    assert sum(one.mutants == "planned" for one in load_registry().values()) <= PLANNED_AT_MOST


@pytest.mark.parametrize("mutant", load_zoo())
def test_every_mutant_has_a_killer(mutant: str):
    assert any(mutant in one.killers_of for one in load_registry().values())


def test_every_named_mutant_exists():
    named = {mutant for one in load_registry().values() for mutant in one.killers_of}
    assert named <= set(load_zoo())


def test_the_first_twelve_rows_of_the_table_have_mutants():
    assert {str(row) for row in range(1, 13)} <= {one.rstrip("abc") for one in load_zoo()}


def test_an_unknown_id_is_named():
    with pytest.raises(UsageError, match="DRA-NOPE-001"):
        find_requirement("DRA-NOPE-001")


def test_no_check_body_names_a_vendor():
    for path in checks.CHECKS_FOLDER.glob("*.py"):
        text = path.read_text(encoding="utf-8").lower()
        assert not any(vendor in text for vendor in ("nvidia", "amd", "intel", "habana", "example-")), (
            path.name
        )
