"""The node's own nvidia-imex as a step: where an administrator runs it, a channel works once that one is ready."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path, PurePosixPath
from typing import Final

from claimwright.driver.computedomain.plugin.domains import Domains
from claimwright.driver.driver_root import DriverRoot
from claimwright.driver.errors import NotYet, StepFailed
from claimwright.driver.ports import Processes, View
from claimwright.driver.steps import Probe, Step

TOOL: Final = "host-imex"
_PROGRAM: Final = "nvidia-imex-ctl"
_READY: Final = "READY"
_SECONDS: Final = 10.0


def host_imex(domain_uid: str, namespace: str) -> Step:
    """Have the node's nvidia-imex ready, for a domain of the claim's namespace."""
    return Step(TOOL, {"domain": domain_uid, "namespace": namespace})


class HostImexTool:
    """Asks for it with nvidia-imex-ctl, in the driver installation's own root; without a fabric there is none."""

    name = TOOL
    visible = False
    recorded = False
    refreshes = False
    quick = False

    def __init__(
        self,
        domains: Domains,
        clique: Callable[[], str],
        root: DriverRoot,
        processes: Processes,
        socket: PurePosixPath,
    ) -> None:
        self._domains = domains
        self._clique = clique
        self._root = root
        self._processes = processes
        self._socket = socket

    def do(self, step: Step) -> None:
        """Return when it is ready; NotYet says what it is instead, ClaimRefused that the domain is another one's."""
        self._domains.in_namespace(step.arguments["domain"], step.arguments["namespace"])
        if not self._clique():
            return
        says = self._ask()
        if _READY not in says.split():
            raise NotYet(
                f"the host's nvidia-imex on node {self._domains.node} is not ready: {_PROGRAM} -q on socket "
                f"{self._socket} says {says or 'nothing'!r}, expected {_READY}. Start nvidia-imex on the host"
            )

    def undo(self, step: Step) -> None:
        """Do nothing: nothing was done."""

    def probe(self, step: Step) -> Probe:  # noqa: ARG002  the shape of a tool
        """Say that nothing shows: that it was ready once does not tell that it is now."""
        return Probe.NOT_VISIBLE

    def _ask(self) -> str:
        program = self._root.program(_PROGRAM)
        if program is None:
            raise StepFailed(
                f"{_PROGRAM} not found under driver root {self._root.readable}: install it, or let the driver manage "
                "nvidia-imex with --imex-mode driverManaged"
            )
        inside = self._root.readable != Path("/")
        ended = self._processes.run(
            (str(program.inside), "-q", f"--u={self._socket}"),
            environment={},
            timeout_seconds=_SECONDS,
            view=View(root=self._root.readable) if inside else None,
        )
        return ended.output.strip()
