"""Compare what a step gave with what the table expects."""

from __future__ import annotations

import re

from claimwright.e2e.kernel_lab.acting import Stage, written
from claimwright.e2e.kernel_lab.steps import Pending, Step, Write


def expectation(step: Step, stage: Stage) -> str | None:
    """Return the exact text that a step must give, None when it is not judged by one."""
    if step.gives is not None:
        return stage.say(step.gives)
    if isinstance(step, Pending):
        return "waits"
    if isinstance(step, Write) and step.begin is None:
        return str(len(written(step, stage)))
    return None


def judge(step: Step, stage: Stage, seen: str | tuple[str, ...]) -> tuple[str, str | None]:
    """Return the value to compare between worlds, and what is wrong; a match's named groups become symbols."""
    text = seen if isinstance(seen, str) else " ".join(seen)
    if step.errno is not None:
        return text, f"{step.errno} is expected, and it succeeded with {text!r}"
    if step.matches is not None:
        return _judge_match(step.matches, stage, text)
    if step.has or step.lacks:
        return _judge_names(step, stage, seen)
    wanted = expectation(step, stage)
    if wanted is None or text == wanted:
        return (step.gives or "") if wanted is not None else "", None
    return text, f"{wanted!r} is expected, not {text!r}"


def _judge_match(pattern: str, stage: Stage, text: str) -> tuple[str, str | None]:
    quoted = {name: re.escape(value) for name, value in stage.symbols.items()}
    wanted = re.sub(r"\$\{?([a-z_][a-z0-9_]*)\}?", lambda found: quoted[found[1]], pattern)
    found = re.fullmatch(wanted, text, re.DOTALL)
    if found is None:
        return text, f"{wanted!r} is expected, not {text!r}"
    stage.symbols.update(found.groupdict())
    return pattern, None


def _judge_names(step: Step, stage: Stage, seen: str | tuple[str, ...]) -> tuple[str, str | None]:
    missing = [name for name in step.has if stage.say(name) not in seen]
    surplus = [name for name in step.lacks if stage.say(name) in seen]
    value = " ".join(
        (*(f"+{name}" for name in step.has if name not in missing), *(f"!{name}" for name in surplus))
    )
    if not missing and not surplus:
        return value, None
    return value, f"lacks {missing}, has {surplus} which it should not: {seen!r}"
