"""Programs that answer from a script."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import PurePosixPath

from claimwright.driver.ports import Finished


class ScriptedProcesses:
    """Remembers each command and answers by program name; everything succeeds unless told otherwise."""

    def __init__(self, answers: Mapping[str, Finished] | None = None) -> None:
        self.answers = dict(answers or {})
        self.commands: list[tuple[str, ...]] = []

    def run(
        self,
        command: Sequence[str],
        *,
        environment: Mapping[str, str],  # noqa: ARG002  the shape of the port
        timeout_seconds: float,  # noqa: ARG002
    ) -> Finished:
        """Answer at once."""
        program = PurePosixPath(command[0]).name
        self.commands.append((program, *command[1:]))
        return self.answers.get(program, Finished(0, ""))
