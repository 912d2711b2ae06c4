"""The probe of the daemon's pod: asks nvidia-imex-ctl, and imports next to nothing, as it is asked once a second."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Final

from claimwright.driver.errors import StepFailed
from claimwright.driver.quoting import quoted

_CONTROL: Final = "nvidia-imex-ctl"
_READY: Final = "READY\n"
_ANSWER_SECONDS: Final = 8.0  # the probes of the pod wait for ten


def check(clique: str, configuration: Path) -> None:
    """Return when nvidia-imex is ready, or not wanted since the node has no clique; else StepFailed says why not."""
    if not clique:
        return
    said = _ask(configuration)
    if said != _READY:
        raise StepFailed(f"nvidia-imex is not ready: {quoted(said.strip())}, expected READY")


def _ask(configuration: Path) -> str:
    """Return what it says of the daemon's state, both outputs together; StepFailed when it cannot run."""
    command = (_CONTROL, "-c", str(configuration), "-q")
    try:
        answer = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=_ANSWER_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise StepFailed(f"{' '.join(command)} gave no answer within {_ANSWER_SECONDS:g} s") from error
    except OSError as error:
        raise StepFailed(f"{' '.join(command)} could not be started: {error.strerror}") from error
    return answer.stdout.decode(errors="replace")
