"""Child processes with a deadline; no shell."""

from __future__ import annotations

import os
import shlex
import subprocess
from collections.abc import Mapping, Sequence

from claimwright.driver.errors import StepFailed
from claimwright.driver.ports import Finished


class ChildProcesses:
    """Runs programs of the driver installation."""

    def run(
        self, command: Sequence[str], *, environment: Mapping[str, str], timeout_seconds: float
    ) -> Finished:
        """Run to the end; a program that cannot start or outlives the deadline raises StepFailed."""
        try:
            ended = subprocess.run(
                list(command),
                env={**os.environ, **environment},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                timeout=timeout_seconds,
                check=False,
            )
        except subprocess.TimeoutExpired as error:
            raise StepFailed(f"{shlex.join(command)} did not end within {timeout_seconds:g} s") from error
        except OSError as error:
            raise StepFailed(f"{shlex.join(command)} could not be started: {error}") from error
        return Finished(ended.returncode, ended.stdout.decode(errors="replace"))
