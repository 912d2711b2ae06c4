"""The kinds of claims that are measured: how the driver is started for each, and what a claim asks for."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from claimwright.dra.claims import ClaimReference
from claimwright.dra.slices import Device
from claimwright.e2e.driven_node import DrivenNode
from claimwright.e2e.prepare_bench.machine import BOARDS

AT_ONCE: Final = (1, 2, 4, 8, 16)
_GROUP: Final = "resource.nvidia.com/v1beta1"
_ONE_SLICE: Final = 19  # the GPU instance profile 1g.10gb of an H100, whose compute instance profile is 0


def _nothing(node: DrivenNode) -> None:
    del node


def _cut_all(node: DrivenNode) -> None:
    """Cut one partition of each GPU, as an administrator does for static MIG."""
    for gpu in range(BOARDS):
        node.node.call("set_mig_mode", gpu=gpu, enabled=True)
        made = node.node.call("create_gpu_instance", gpu=gpu, profile=_ONE_SLICE)
        node.node.call("create_compute_instance", gpu=gpu, gpu_instance=made["id"], profile=0)


@dataclass(frozen=True)
class Kind:
    """One kind. `device` begins the name of the device on GPU `{gpu}`; `shared` when its claims get share ids."""

    name: str
    device: str
    board: str = "h100-pcie"
    gates: str = ""
    flags: tuple[str, ...] = ()
    config: Mapping[str, Any] | None = None
    shared: bool = False
    before: Callable[[DrivenNode], None] = field(default=_nothing, compare=False)

    def claims(self, node: DrivenNode) -> list[ClaimReference]:
        """Allocate a device of each GPU to a claim of its own."""
        return [self._claim(node, gpu, name) for gpu, name in enumerate(self.devices(node.devices()))]

    def devices(self, published: Mapping[str, Device]) -> list[str]:
        """Return the first fitting device of each GPU; LookupError names the GPU that has none."""
        return [_first(published, self.device.format(gpu=gpu)) for gpu in range(BOARDS)]

    def _claim(self, node: DrivenNode, gpu: int, device: str) -> ClaimReference:
        share = {"shareID": str(uuid.uuid4())} if self.shared else {}
        configs = [] if self.config is None else [self.config]
        return node.claim(f"{self.name}-{gpu}".lower(), [device], configs=configs, **share)


def _first(published: Mapping[str, Device], begins: str) -> str:
    exact = begins.removesuffix("$")
    for name in published:
        if name == exact or (exact == begins and name.startswith(begins)):
            return name
    raise LookupError(f"no device {begins} among {', '.join(published) or 'none'}")


def _config(kind: str, **body: object) -> Mapping[str, Any]:
    return {"apiVersion": _GROUP, "kind": kind, **body}


KINDS: Final = (
    Kind("full", "gpu-{gpu}$"),
    Kind("static-MIG", "gpu-{gpu}-mig-1g10gb", before=_cut_all),
    Kind("dynamic-MIG", "gpu-{gpu}-mig-1g10gb", gates="DynamicMIG=true"),
    Kind(
        "time-slice", "gpu-{gpu}$", gates="TimeSlicingSettings=true",
        config=_config(
            "GpuConfig", sharing={"strategy": "TimeSlicing", "timeSlicingConfig": {"interval": "Long"}}
        ),
    ),
    Kind(
        "MPS", "gpu-{gpu}$", gates="MPSSupport=true",
        config=_config(
            "GpuConfig", sharing={"strategy": "MPS", "mpsConfig": {"defaultActiveThreadPercentage": 50}}
        ),
    ),
    Kind(
        "shares", "gpu-{gpu}$", gates="ConsumableShares=true", shared=True,
        flags=("--consumable-shares", "unlimited"),
    ),
    Kind("VFIO-legacy", "gpu-vfio-{gpu}$", gates="PassthroughSupport=true"),
    Kind(
        "VFIO-IOMMUFD", "gpu-vfio-{gpu}$", gates="PassthroughSupport=true",
        config=_config(
            "VfioDeviceConfig", iommu={"backendPolicy": "PreferIommuFD", "enableAPIDevice": True}
        ),
    ),
    Kind("mdev-vGPU", "gpu-{gpu}-vgpu-t4-2q", board="t4", gates="VGPUSupport=true", shared=True),
    Kind("SR-IOV-vGPU", "gpu-{gpu}-vgpu-l4-4q", board="l4", gates="VGPUSupport=true", shared=True),
)  # fmt: skip
