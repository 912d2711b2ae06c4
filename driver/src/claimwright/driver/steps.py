"""Small reversible steps: what a prepare consists of, as data that the journal can hold.

A recipe names steps; a `Tool` knows how to do one kind of step, undo it, and look at the world to tell
whether it was done. Doing or undoing twice is harmless, because recovery after a crash does just that.
"""

from __future__ import annotations

import enum
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

from claimwright.driver.errors import StepFailed


class Probe(enum.Enum):
    """What the world says about a step."""

    DONE = "done"
    NOT_DONE = "not done"
    PARTLY = "partly done"  # begun and not ended, or half of it taken away: to be finished or undone
    NOT_VISIBLE = "not visible"  # the hardware does not report this setting


@dataclass(frozen=True)
class Step:
    """One step of one claim: which tool, and its arguments as JSON values."""

    tool: str
    arguments: Mapping[str, Any]

    def __str__(self) -> str:
        # By name: steps are compared as text, and the journal gives arguments back in its own order.
        return (
            f"{self.tool}({', '.join(f'{name}={value}' for name, value in sorted(self.arguments.items()))})"
        )


class Tool(Protocol):
    """Does one kind of step. Methods block and may be called from any thread."""

    name: str
    # Whether `probe` can tell.
    visible: bool
    # Whether the journal records the moment before the step acts: where `probe` cannot tell, or cannot tell whose
    # work it sees. Only what is on record is then undone.
    recorded: bool
    # Whether doing it once more takes over what earlier steps changed; a repair does so.
    refreshes: bool
    # Whether it is done in well under a millisecond, so that a thread would cost more than it saves; where some of its
    # steps take longer to do, it is `Varying`.
    quick: bool

    def do(self, step: Step) -> None:
        """Do it; any error leaves nothing half-done of this step, or something that `undo` removes.

        StepRefused: it did nothing, and what is in its place must not be undone.
        """
        ...

    def undo(self, step: Step) -> None:
        """Undo it; a step that was never done is fine. GpuGone: its GPU left, and what was done left with it."""
        ...

    def probe(self, step: Step) -> Probe:
        """Look at the world."""
        ...


@runtime_checkable
class Remembering(Protocol):
    """A tool that needs at its undo what it found before it acted; such a tool is `recorded`."""

    def found(self, step: Step) -> Mapping[str, Any]:
        """Look before the step acts, and return what to add to its arguments, as JSON values; the journal keeps it."""
        ...


@runtime_checkable
class Varying(Protocol):
    """A quick tool that does some of its steps slowly."""

    def does_quickly(self, step: Step) -> bool:
        """Tell whether `do` of this step is quick."""
        ...


@runtime_checkable
class Adopting(Protocol):
    """A tool whose work another driver may have done before this one was installed."""

    def adopted(self, step: Step) -> Mapping[str, Any]:
        """Return what `found` would have returned before that driver acted."""
        ...


class Toolbox:
    """The tools of this driver by name."""

    def __init__(self, *tools: Tool) -> None:
        self._tools = {tool.name: tool for tool in tools}
        self._varying = {tool.name: tool for tool in tools if isinstance(tool, Varying)}

    def __iter__(self) -> Iterator[Tool]:
        """Return every tool."""
        return iter(self._tools.values())

    def of(self, step: Step) -> Tool:
        """Return the step's tool; an unknown one means that a newer driver wrote the journal."""
        tool = self._tools.get(step.tool)
        if tool is None:
            raise StepFailed(
                f"step {step} needs a tool that this version does not have; "
                f"it has {', '.join(sorted(self._tools))}. Start the version that wrote the journal."
            )
        return tool

    def does_quickly(self, step: Step) -> bool:
        """Tell whether the step is done so quickly that it needs no thread."""
        varying = self._varying.get(step.tool)
        return self.of(step).quick if varying is None else varying.does_quickly(step)

    def before(self, step: Step) -> Mapping[str, Any]:
        """Return what to remember of a step that another driver has done; nothing means the node's defaults."""
        tool = self.of(step)
        return tool.adopted(step) if isinstance(tool, Adopting) else {}
