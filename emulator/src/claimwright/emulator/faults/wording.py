"""Steps of a script in words, for progress, errors and the feed."""

from __future__ import annotations

from claimwright.emulator.faults.durations import duration_text
from claimwright.emulator.faults.script import Step
from claimwright.emulator.faults.words import Words


def described(step: Step) -> str:
    """Return a step in its own words."""
    verb = step.verbs[0]
    line = getattr(step, verb)
    if isinstance(line, Words):
        text = " ".join((line.name, *(f"{key}={value}" for key, value in line.parameters.items())))
        lasting = "" if line.lasting_seconds is None else f" for {duration_text(line.lasting_seconds)}"
        return f"{verb} {text}{lasting}"
    if isinstance(line, dict):
        return "expect " + ", ".join(f"{path}={value}" for path, value in line.items())
    return f"{verb} {line}"
