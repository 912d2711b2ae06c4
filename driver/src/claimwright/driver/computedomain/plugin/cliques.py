"""Which clique of the NVLink fabric this node is in: `<cluster uuid>.<clique number>`, nothing where no fabric is.

The fabric manager attaches GPUs one by one after a boot, and says how far it is by state and status (nvml.h,
nvmlGpuFabricInfo). A node that looks half attached would get daemons without a fabric, so by default it is refused.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from typing import Final
from uuid import UUID

from claimwright.driver.errors import DriverError, NodeUnusable
from claimwright.driver.feature_gates import FeatureGates
from claimwright.driver.ports import FabricReading, GpuReading, NodeReading, Nvml

logger = logging.getLogger(__name__)
# nvml.h: NVML_GPU_FABRIC_STATE_COMPLETED, NVML_SUCCESS.
_COMPLETED: Final = 3
_SUCCESS: Final = 0
_ONE_MACHINE: Final = str(UUID(int=0))
_STATES: Final = {1: "not started", 2: "in progress"}
_STRICT: Final = "CrashOnNVLinkFabricErrors"
_INSIDE: Final = "FabricManagerPartitioning"


def clique_of(reading: NodeReading, gates: FeatureGates) -> str:
    """Return the node's clique; NodeUnusable when its GPUs are not attached, or are not in the same one."""
    gpus = [gpu for gpu in reading.gpus if isinstance(gpu, GpuReading) and gpu.fabric is not None]
    found = {_clique(gpu, gpu.fabric, gates) for gpu in gpus if gpu.fabric is not None} - {""}
    if len(found) > 1:
        raise NodeUnusable(
            f"the GPUs of this node are in different NVLink cliques: {_listing(found)}; one was expected. "
            "Check the fabric with nvidia-smi -q and the NVLink fabric manager."
        )
    return next(iter(found), "")


def _clique(gpu: GpuReading, fabric: FabricReading, gates: FeatureGates) -> str:
    inside = fabric.cluster_uuid == _ONE_MACHINE
    if inside and gates[_INSIDE]:
        return ""  # a fabric of this machine only: whoever joins its GPUs for claims attaches them
    attached = fabric.state == _COMPLETED and fabric.status == _SUCCESS
    if not attached and gates[_STRICT]:
        raise NodeUnusable(_unattached(gpu, fabric))
    return "" if inside or not attached else f"{fabric.cluster_uuid}.{fabric.clique_id}"


def _unattached(gpu: GpuReading, fabric: FabricReading) -> str:
    state = _STATES.get(fabric.state, f"state {fabric.state}")
    what = f"status {fabric.status}" if fabric.state == _COMPLETED else f"registration {state}"
    return (
        f"GPU {gpu.uuid} is not attached to its NVLink fabric: {what}, expected completed with success. "
        f"Check the fabric manager; with feature gate {_STRICT}=false such a GPU counts as one without a fabric."
    )


def _listing(cliques: Iterable[str]) -> str:
    return ", ".join(sorted(cliques))


class CliqueBook:
    """What is known of the node's clique."""

    def __init__(self, nvml: Nvml, gates: FeatureGates, first: str = "") -> None:
        self._nvml = nvml
        self._gates = gates
        self._clique = first

    @property
    def clique(self) -> str:
        """The clique, empty where no fabric is."""
        return self._clique

    def reread(self) -> bool:
        """Read it again, and tell whether it changed; what cannot be read, or is no clique, changes nothing."""
        try:
            found = clique_of(self._nvml.read(), self._gates)
        except DriverError as error:
            logger.warning("the NVLink fabric cannot be read, clique %r stays: %s", self._clique, error)
            return False
        changed = bool(found) and found != self._clique
        if changed:
            logger.info("identified fabric clique %r, before %r", found, self._clique)
            self._clique = found
        return changed
