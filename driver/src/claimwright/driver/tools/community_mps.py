"""An MPS control daemon that the community driver started, as a step that can only be undone.

That driver runs the daemon in a Deployment of its namespace, with folders on the host. A claim that was taken over
keeps it; the release removes what that driver would have removed.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final

from claimwright.dra.kube import DEPLOYMENTS, Kube, KubeError, NotFound
from claimwright.driver.errors import StepFailed
from claimwright.driver.ports import Processes
from claimwright.driver.steps import Probe, Step
from claimwright.driver.tools.nvidia_smi import NvidiaSmi

TOOL: Final = "community-mps"
_UNMOUNT_SECONDS: Final = 10.0


def community_mps(daemon: str, gpu_uuids: Sequence[str]) -> Step:
    """Name the daemon, and the GPUs whose compute mode it changed."""
    return Step(TOOL, {"daemon": daemon, "gpus": list(gpu_uuids)})


def daemon_of(step: Step) -> str | None:
    """Return the daemon that the step names, None when it names none."""
    return str(step.arguments["daemon"]) if step.tool == TOOL else None


class CommunityMpsTool:
    """Removes the Deployment, the folders and the compute mode."""

    name = TOOL
    visible = False
    recorded = True
    refreshes = False
    quick = False

    def __init__(
        self, kube: Kube, namespace: str, folder: Path, processes: Processes, nvidia_smi: NvidiaSmi
    ) -> None:
        self._kube = kube
        self._namespace = namespace
        self._folder = folder
        self._processes = processes
        self._nvidia_smi = nvidia_smi

    def do(self, step: Step) -> None:
        """Refuse: this driver starts MPS in its own way."""
        raise StepFailed(f"{step} was the community driver's; it cannot be done again")

    def undo(self, step: Step) -> None:
        """Remove all of it; what is gone already is fine."""
        daemon = str(step.arguments["daemon"])
        try:
            self._kube.delete(DEPLOYMENTS, f"mps-control-daemon-{daemon}", namespace=self._namespace)
        except NotFound:
            pass
        except KubeError as error:
            raise StepFailed(f"the MPS control daemon {daemon} cannot be removed: {error}") from error
        for uuid in step.arguments["gpus"]:
            self._nvidia_smi("-i", str(uuid), "-c", "DEFAULT")
        self._remove(self._folder / daemon)

    def probe(self, step: Step) -> Probe:  # noqa: ARG002  the shape of a tool
        """Say that it is not looked for: its end does not end the claim."""
        return Probe.NOT_VISIBLE

    def _remove(self, folder: Path) -> None:
        shared = folder / "shm"
        if shared.is_mount():
            ended = self._processes.run(
                ("umount", str(shared)), environment={}, timeout_seconds=_UNMOUNT_SECONDS
            )
            if ended.status != 0:
                raise StepFailed(f"umount {shared} ended with status {ended.status}: {ended.output.strip()}")
        if folder.is_dir():
            shutil.rmtree(folder)
        with suppress(OSError):  # another daemon is in there, or it is gone already
            folder.parent.rmdir()
