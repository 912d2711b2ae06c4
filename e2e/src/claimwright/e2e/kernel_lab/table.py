"""The operations table: cases of steps, read from the texts in `operations/`.

A case names what it proves, what a world must offer for it (`needs`), its steps, and a cleanup that runs whatever
happened. Devices, drivers and numbers are symbols (`$gpu`); each world has its own.
"""

from __future__ import annotations

import errno
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, fields
from importlib.resources import files
from typing import Any

import yaml

from claimwright.e2e.kernel_lab.door import Request
from claimwright.e2e.kernel_lab.errors import TableInvalid
from claimwright.e2e.kernel_lab.steps import VERBS, Ioctl, Step
from claimwright.e2e.kernel_lab.world import OFFERS

_CASE_KEYS = {"case", "needs", "steps", "cleanup"}


@dataclass(frozen=True, slots=True)
class Case:
    """A few steps in a row that prove one sentence; `subject` is the text's name."""

    subject: str
    name: str
    needs: frozenset[str]
    steps: tuple[Step, ...]
    cleanup: tuple[Step, ...] = ()


def load_table() -> tuple[Case, ...]:
    """Return every case, in the order of the texts' names; TableInvalid names what is wrong in them."""
    texts = (entry for entry in files(f"{__package__}.operations").iterdir() if entry.name.endswith(".yaml"))
    cases = tuple(
        case
        for entry in sorted(texts, key=lambda entry: entry.name)
        for case in read_cases(entry.read_text(), entry.name.removesuffix(".yaml"))
    )
    _refuse_twins(cases)
    return cases


def read_cases(text: str, subject: str) -> Iterator[Case]:
    """Read one text of the table."""
    try:
        found = yaml.load(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))  # noqa: S506 - both are safe
    except yaml.YAMLError as error:
        raise TableInvalid(f"{subject}: {error}") from error
    if not isinstance(found, list):
        raise TableInvalid(f"{subject}: a list of cases is expected, not {type(found).__name__}")
    for each in found:
        yield _case(each, subject)


def _case(each: object, subject: str) -> Case:
    if not isinstance(each, dict) or not isinstance(each.get("case"), str):
        raise TableInvalid(f"{subject}: every entry is a mapping with `case`, not {each!r}")
    where = f"{subject}: {each['case']}"
    if surplus := set(each) - _CASE_KEYS:
        raise TableInvalid(f"{where}: unknown {sorted(surplus)}; a case has {sorted(_CASE_KEYS)}")
    needs = frozenset(each.get("needs", ()))
    if unknown := needs - OFFERS:
        raise TableInvalid(f"{where}: no world offers {sorted(unknown)}; known: {sorted(OFFERS)}")
    if not each.get("steps"):
        raise TableInvalid(f"{where}: a case without steps proves nothing")
    return Case(
        subject, each["case"], needs, _steps(each["steps"], where), _steps(each.get("cleanup", ()), where)
    )


def _steps(found: Iterable[Any], where: str) -> tuple[Step, ...]:
    return tuple(_step(each, f"{where}: step {number}") for number, each in enumerate(found, start=1))


def _step(each: object, where: str) -> Step:
    if not isinstance(each, dict):
        raise TableInvalid(f"{where}: a mapping is expected, not {each!r}")
    verb = next((verb for verb in VERBS if verb in each), None)
    if verb is None:
        raise TableInvalid(f"{where}: no verb in {each!r}; known: {', '.join(VERBS)}")
    known = {field.name for field in fields(VERBS[verb])}
    if surplus := set(each) - known:
        raise TableInvalid(f"{where}: {verb} does not know {sorted(surplus)}; it has {sorted(known)}")
    try:
        step = VERBS[verb](**_as_tuples(each))
    except TypeError as error:
        raise TableInvalid(f"{where}: {error}") from error
    _check(step, where)
    return step


def _as_tuples(each: Mapping[str, Any]) -> dict[str, Any]:
    return {key: tuple(value) if isinstance(value, list) else value for key, value in each.items()}


def _check(step: Step, where: str) -> None:
    if step.errno is not None and not hasattr(errno, step.errno):
        raise TableInvalid(f"{where}: {step.errno!r} is no errno of this system, such as EBUSY")
    if isinstance(step, Ioctl) and step.ioctl not in set(Request):
        raise TableInvalid(f"{where}: unknown ioctl {step.ioctl!r}; known: {', '.join(Request)}")
    if step.matches is not None:
        try:
            re.compile(step.matches)
        except re.error as error:
            raise TableInvalid(f"{where}: {step.matches!r} is no regular expression: {error}") from error


def _refuse_twins(cases: Iterable[Case]) -> None:
    seen: set[tuple[str, str]] = set()
    for case in cases:
        if (case.subject, case.name) in seen:
            raise TableInvalid(f"{case.subject}: two cases are named {case.name!r}: a result needs one name")
        seen.add((case.subject, case.name))
