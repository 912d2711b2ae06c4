"""The CDI spec of what manages GPUs, as a step: device `all` has every node of the driver, and its files.

A daemon needs it to reach the fabric. The spec is the node's, not a claim's: it is written anew for each daemon, since
nodes come and go, and it stays.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Final

from claimwright.dra.cdi import (
    CdiDevice,
    CdiError,
    CdiSpec,
    ContainerEdits,
    DeviceNode,
    qualified_name,
    spec_path,
    spec_to_object,
    validate,
)
from claimwright.dra.files import write_atomically
from claimwright.driver.edits.driver_files import DriverFiles, driver_files
from claimwright.driver.edits.installation import Installation
from claimwright.driver.errors import StepFailed
from claimwright.driver.steps import Probe, Step

TOOL: Final = "management-spec"
KIND: Final = "k8s.compute-domain.nvidia.com/device"
CDI_ID: Final = qualified_name(KIND, "all")
_ID: Final = "base"
_DEV: Final = PurePosixPath("/dev")
_GPU: Final = re.compile(r"nvidia\d+")
_FOLDERS: Final = {
    "nvidia-caps": re.compile(r"nvidia-cap\d+"),
    "nvidia-caps-imex-channels": re.compile(r"channel\d+"),
}


def management_spec() -> Step:
    """Have the spec written anew."""
    return Step(TOOL, {})


def management_file(folder: Path) -> Path:
    """Return the spec's file in a CDI folder."""
    return spec_path(folder, KIND, transient_id=_ID, format="json")


@dataclass(frozen=True)
class ManagementSpec:
    """The spec in one CDI folder."""

    folder: Path
    installation: Installation
    files: DriverFiles

    def write(self) -> None:
        """Write it; StepFailed when the kernel has nothing that could be managed."""
        edits = self.files(driver_files())
        every = CdiDevice("all", ContainerEdits(device_nodes=tuple(self._nodes(edits))))
        spec = CdiSpec(KIND, devices=(every,), edits=edits)
        try:
            validate(spec)
        except CdiError as error:
            raise StepFailed(f"CDI spec of {CDI_ID} cannot be written: {error}") from error
        self.folder.mkdir(mode=0o755, parents=True, exist_ok=True)
        write_atomically(self.path, json.dumps(spec_to_object(spec)), durable=False)
        # One kind and name in two files is a conflict that no runtime resolves; the community driver writes YAML.
        self.path.with_suffix(".yaml").unlink(missing_ok=True)

    @property
    def path(self) -> Path:
        """Its file."""
        return management_file(self.folder)

    def _nodes(self, edits: ContainerEdits) -> Iterator[DeviceNode]:
        """Yield the nodes of GPUs, capabilities and channels; every spec has the control nodes already."""
        given = {node.path for node in edits.device_nodes}
        files = self.installation.devices.files
        paths = [_DEV / name for name in files.entries(_DEV) if _GPU.fullmatch(name)]
        for folder, pattern in _FOLDERS.items():
            paths += [
                _DEV / folder / name for name in files.entries(_DEV / folder) if pattern.fullmatch(name)
            ]
        for path in paths:
            node = self.installation.node(path)
            if node is not None and node.path not in given:
                yield node


class ManagementSpecTool:
    """Writes it; what a claim leaves of it is for the next one."""

    name = TOOL
    visible = True
    recorded = False
    refreshes = False
    quick = False

    def __init__(self, spec: ManagementSpec) -> None:
        self._spec = spec

    def do(self, step: Step) -> None:  # noqa: ARG002  the shape of a tool
        """Write it."""
        self._spec.write()

    def undo(self, step: Step) -> None:
        """Leave it: it is the node's."""

    def probe(self, step: Step) -> Probe:  # noqa: ARG002  the shape of a tool
        """Look for the file."""
        return Probe.DONE if self._spec.path.exists() else Probe.NOT_DONE
