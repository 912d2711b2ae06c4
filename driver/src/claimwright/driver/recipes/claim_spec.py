"""The CDI spec of one claim as a step: a file that is there or not."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final, Literal, TypeAlias

from claimwright.dra.cdi import (
    CdiDevice,
    CdiError,
    CdiSpec,
    ContainerEdits,
    minimum_version,
    spec_path,
    spec_to_object,
    validate,
)
from claimwright.dra.files import write_atomically
from claimwright.driver.cdi_edits import Installation, control_nodes, gpu_nodes, static_edits
from claimwright.driver.errors import StepFailed
from claimwright.driver.inventory import Gpu
from claimwright.driver.ports import Clock
from claimwright.driver.steps import Probe, Step

TOOL: Final = "claim-spec"
KIND: Final = "k8s.gpu.nvidia.com/claim"
# Installed files change only when an administrator replaces the driver under a running node.
_COMMON_LIVES_SECONDS = 300.0
Format: TypeAlias = Literal["json", "yaml"]
_FORMATS: Final[tuple[Format, ...]] = ("json", "yaml")
_FILE = re.compile(r"k8s\.gpu\.nvidia\.com-claim_(?P<uid>.+)\.(?:json|yaml)")


def claim_spec(uid: str, devices: Iterable[tuple[str, str]]) -> Step:
    """Write the claim's spec; `devices` are pairs of CDI device name and published device name."""
    return Step(TOOL, {"claim": uid, "devices": [list(pair) for pair in devices]})


def cdi_name(uid: str, device: str, share_id: str | None = None) -> str:
    """Return the CDI device name of one result; shares of one device in one claim stay apart."""
    return f"{uid}-{device}" if share_id is None else f"{uid}-{device}-{share_id}"


def specs_in(folder: Path) -> Iterator[tuple[str, Path]]:
    """Yield claim uid and file of every claim spec of this driver in a CDI folder."""
    for path in sorted(folder.glob("k8s.gpu.nvidia.com-claim_*")):
        found = _FILE.fullmatch(path.name)
        if found is not None:
            yield found["uid"], path


class ClaimSpecTool:
    """Writes and removes claim specs in one CDI folder."""

    name = TOOL
    visible = True
    # A file on the tmpfs that /var/run is; a hop to another thread takes as long.
    quick = True

    def __init__(
        self, folder: Path, installation: Installation, gpus: Mapping[str, Gpu], clock: Clock
    ) -> None:
        self._folder = folder
        self._installation = installation
        self._gpus = gpus
        self._clock = clock
        self._common: _Common | None = None

    def do(self, step: Step) -> None:
        """Write the spec; StepFailed when a device or its node is not there."""
        spec = CdiSpec(
            KIND, devices=tuple(self._device(name, device) for name, device in step.arguments["devices"])
        )
        try:
            document = self._document(spec, control_nodes(self._installation))
        except CdiError as error:
            raise StepFailed(f"claim spec of {step.arguments['claim']} cannot be written: {error}") from error
        self._folder.mkdir(mode=0o755, parents=True, exist_ok=True)
        # Not durable on purpose: a power cut ends the boot, and with it every prepared claim.
        write_atomically(self._path(step, "json"), json.dumps(document), durable=False)

    def undo(self, step: Step) -> None:
        """Remove the spec."""
        for suffix in _FORMATS:
            self._path(step, suffix).unlink(missing_ok=True)

    def probe(self, step: Step) -> Probe:
        """Look for the file."""
        return Probe.DONE if any(self._path(step, suffix).exists() for suffix in _FORMATS) else Probe.NOT_DONE

    def _path(self, step: Step, suffix: Format) -> Path:
        return spec_path(self._folder, KIND, transient_id=step.arguments["claim"], format=suffix)

    def _device(self, name: str, device: str) -> CdiDevice:
        gpu = self._gpus.get(device)
        if gpu is None:
            raise StepFailed(f"device {device} is not on this node any more")
        return CdiDevice(name, gpu_nodes(self._installation, gpu))

    def _document(self, spec: CdiSpec, nodes: ContainerEdits) -> dict[str, Any]:
        """Join the devices with the edits that all claims share; those are checked and spelled out once."""
        now = self._clock.now()
        common = self._common
        if common is None or common.nodes != nodes or not 0 <= now - common.made < _COMMON_LIVES_SECONDS:
            self._common = common = _Common.make(spec, nodes, self._installation, now)
        validate(spec)
        version = max(minimum_version(spec), common.version, key=_version_order)
        return {**spec_to_object(spec), "cdiVersion": version, "containerEdits": common.document}


@dataclass(frozen=True)
class _Common:
    """The spec's own edits as they are written, and what they were made from."""

    made: float
    nodes: ContainerEdits
    document: Mapping[str, Any]
    version: str

    @classmethod
    def make(cls, spec: CdiSpec, nodes: ContainerEdits, installation: Installation, now: float) -> _Common:
        whole = replace(spec, edits=static_edits(installation) + nodes)
        validate(whole)
        return cls(now, nodes, spec_to_object(whole)["containerEdits"], minimum_version(whole))


def _version_order(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split("."))
