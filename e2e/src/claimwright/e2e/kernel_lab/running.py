"""Run the table in a world: one result per step."""

from __future__ import annotations

import errno
from collections.abc import Iterable, Iterator

from claimwright.e2e.kernel_lab.acting import Stage, act
from claimwright.e2e.kernel_lab.judging import judge
from claimwright.e2e.kernel_lab.restoring import restore
from claimwright.e2e.kernel_lab.results import NotRun, Result
from claimwright.e2e.kernel_lab.steps import Step
from claimwright.e2e.kernel_lab.table import Case
from claimwright.e2e.kernel_lab.world import World


def run_table(cases: Iterable[Case], world: World) -> Iterator[Result | NotRun]:
    """Run cases one after the other, each from the world's first state; WorldBroken when that is lost."""
    for case in cases:
        if missing := case.needs - world.offers:
            yield NotRun(case.subject, case.name, tuple(sorted(missing)))
        else:
            yield from run_case(case, world)
    restore(world)


def run_case(case: Case, world: World) -> Iterator[Result]:
    """Run one case; a failed step does not stop it, since every errno is told."""
    restore(world)
    stage = Stage(world.door, dict(world.symbols))
    try:
        for number, step in enumerate(case.steps, start=1):
            yield _result(case, number, step, stage)
    finally:
        stage.close()
        for step in case.cleanup:
            _outcome(step, stage)


def _result(case: Case, number: int, step: Step, stage: Stage) -> Result:
    outcome, value, wrong = _outcome(step, stage)
    return Result(case.subject, case.name, number, str(step), outcome, value, wrong)


def _outcome(step: Step, stage: Stage) -> tuple[str, str, str | None]:
    """Take a step; return outcome, value to compare, and what is wrong."""
    try:
        return "ok", *judge(step, stage, act(step, stage))
    except OSError as refusal:
        name = errno.errorcode.get(refusal.errno or 0, f"{type(refusal).__name__}")
        wanted = step.errno or "success"
        return name, "", None if name == step.errno else f"{wanted} is expected, not {name} ({refusal})"
    except KeyError as unknown:
        # A symbol or open file that an earlier, failed step would have made; or a world that lacks a symbol.
        return (
            "unknown",
            "",
            f"{unknown} is not known here: the step that makes it failed, or the world has none",
        )
