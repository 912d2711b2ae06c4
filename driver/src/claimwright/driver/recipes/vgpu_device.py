"""What vGPUs have in common, whichever framework carries them: what is offered of a GPU, and how it is described.

Of equal sizes: all vGPUs of a GPU are of one type, so each type is one device that many claims share, as many as the
board holds, and which takes all of the GPU's counters (KEP-5075 with KEP-4815: shares consume counters once). Of mixed
sizes: each type at each place is a device, and takes the slots of its place.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Final

from claimwright.dra.quantities import Quantity
from claimwright.dra.slices import Attribute, Capacity, Device, RequestPolicy
from claimwright.driver import counters
from claimwright.driver.edits.book import EditCall
from claimwright.driver.edits.vgpu_node import vgpu_node
from claimwright.driver.errors import ClaimRefused
from claimwright.driver.inventory import Gpu, Inventory, VgpuHost
from claimwright.driver.ports import VgpuPlace, VgpuType
from claimwright.driver.recipes.gpu_attributes import gpu_attributes
from claimwright.driver.recipes.iommu_interface import iommu_interface
from claimwright.driver.steps import Step
from claimwright.driver.tools.mig_mode import mig_mode

if TYPE_CHECKING:
    from claimwright.driver.configs import VgpuDeviceConfig

TYPE: Final = "vgpu"
CONFIG: Final = "VgpuDeviceConfig"
GATE: Final = "VGPUSupport"
# The whole row of vGPUs of one size; two types never share it.
_ONE_SIZE: Final = "vgpus-of-one-size"
# resource.k8s.io: names of devices are DNS labels.
_NAME_LENGTH: Final = 63


@dataclass(frozen=True)
class VgpuDevice:
    """One type on one GPU, `most` of them; `place` in mixed-size mode, where there is one of it."""

    gpu: Gpu
    kind: VgpuType
    most: int
    place: VgpuPlace | None = None

    @property
    def name(self) -> str:
        """The device's name, `gpu-7-vgpu-t4-1q`, or `gpu-3-vgpu-l4-4q-at-2` for a place."""
        kind = re.sub(r"[^a-z0-9]+", "-", self.kind.name.lower()).strip("-")
        place = "" if self.place is None else f"-at-{self.place.start}"
        prefix = f"{self.gpu.device_name}-vgpu-"
        return f"{prefix}{kind[: _NAME_LENGTH - len(prefix) - len(place)].strip('-')}{place}"

    @property
    def parts(self) -> frozenset[str]:
        """What of the GPU it takes, in words of this module."""
        if self.place is None:
            return frozenset({_ONE_SIZE})
        return frozenset(f"vgpu-slot-{number}" for number in counters.slots_at(self.gpu, self.place))


def devices_of(gpu: Gpu, *, on_functions: bool) -> Iterator[VgpuDevice]:
    """Yield what a GPU offers through one framework, by name, beside the vGPUs that somebody else made."""
    host = gpu.vgpus
    if host is None or host.on_functions is not on_functions or gpu.foreign:
        return
    found = _mixed(gpu, host) if host.mixed_sizes else _equal(gpu, host)
    yield from sorted(found, key=lambda device: device.name)


def describe(device: VgpuDevice, inventory: Inventory, *, list_numa: bool) -> Device:
    """Return the device as it is published."""
    attributes = {
        **gpu_attributes(device.gpu, inventory, list_numa=list_numa),
        **_type_attributes(device),
        "type": TYPE,
        "parentUUID": device.gpu.uuid,
    }
    del attributes["uuid"]
    if device.place is not None:
        memory = Quantity.of_bytes(device.kind.framebuffer_bytes)
        consumes = counters.vgpu_slots(device.gpu, device.place)
        return Device(device.name, attributes, {"memory": memory}, consumes_counters=consumes)
    return replace(
        Device(device.name, attributes, _shares(device), consumes_counters=counters.whole(device.gpu)),
        allow_multiple_allocations=True,
    )


def steps_before(gpu: Gpu) -> Iterator[Step]:
    """Yield what a GPU needs before it carries vGPUs that share it in time: to be out of MIG mode."""
    if gpu.switches_mig:
        yield mig_mode(gpu.uuid, enabled=False)


def access(where: PurePosixPath, config: VgpuDeviceConfig | None) -> EditCall:
    """Let a virtual machine in to the vGPU at `where` in sysfs, by the interface that the config prefers."""
    return vgpu_node(where, **iommu_interface(None if config is None else config.iommu))


def check_sizes(device: VgpuDevice, config: VgpuDeviceConfig | None) -> None:
    """Refuse a device whose GPU does not share itself as the config insists; ClaimRefused says what to do."""
    wanted = "Any" if config is None else config.size_policy
    mode = "EqualSize" if device.place is None else "MixedSize"
    if wanted not in ("Any", mode):
        raise ClaimRefused(
            f'VgpuDeviceConfig: sizePolicy is "{wanted}", but {device.gpu.device_name} is in {mode} mode; select by '
            "attribute mixedSizes, or have an administrator switch the GPU (nvidia-smi vgpu -shm)"
        )


def _equal(gpu: Gpu, host: VgpuHost) -> Iterator[VgpuDevice]:
    carried = [found for each in host.foreign if (found := host.type_of(each.type_id)) is not None]
    for kind in host.types:
        left = kind.most - len(host.foreign)
        alike = all(each.framebuffer_bytes == kind.framebuffer_bytes for each in carried)
        if alike and left > 0:
            yield VgpuDevice(gpu, kind, left)


def _mixed(gpu: Gpu, host: VgpuHost) -> Iterator[VgpuDevice]:
    taken = {slot for place in _foreign_places(host) for slot in counters.slots_at(gpu, place)}
    for kind in host.types:
        for place in kind.places:
            if taken.isdisjoint(counters.slots_at(gpu, place)):
                yield VgpuDevice(gpu, kind, 1, place)


def _foreign_places(host: VgpuHost) -> Iterator[VgpuPlace]:
    """Yield where the vGPUs of others are; one that does not say may be anywhere its type can be."""
    for each in host.foreign:
        kind = host.type_of(each.type_id)
        if kind is None:
            yield from (place for other in host.types for place in other.places)
        else:
            yield from (place for place in kind.places if each.placement in (None, place.start))


def _shares(device: VgpuDevice) -> dict[str, Capacity]:
    """Return what shares divide: each takes one vGPU with all of its memory, never less."""
    memory, one = Quantity.of_bytes(device.kind.framebuffer_bytes), Quantity.parse("1")
    total = Quantity.of_bytes(device.kind.framebuffer_bytes * device.most)
    return {
        "vgpus": Capacity(Quantity.parse(str(device.most)), RequestPolicy(one, (one,))),
        "memory": Capacity(total, RequestPolicy(memory, (memory,))),
    }


def _type_attributes(device: VgpuDevice) -> dict[str, Attribute]:
    kind = device.kind
    known: dict[str, Attribute | None] = {
        "vgpuType": kind.name,
        "vgpuTypeID": kind.type_id,
        "vgpuClass": kind.class_name,
        "vgpuFramework": "sriov"
        if device.gpu.vgpus is not None and device.gpu.vgpus.on_functions
        else "mdev",
        "framebufferMiB": kind.framebuffer_bytes >> 20,
        "maxInstances": kind.most,
        "displayHeads": kind.display_heads,
        "maxResolution": None if kind.resolution is None else "{}x{}".format(*kind.resolution),
        "frameRateLimit": kind.frame_rate_limit,
        # `NVIDIA-vComputeServer,9.0;…`: the product that is wanted first, without its version.
        "licenseClass": kind.license.partition(";")[0].partition(",")[0][:64] or None,
        "mixedSizes": device.place is not None,
        "placement": None if device.place is None else device.place.start,
    }
    return {name: value for name, value in known.items() if value is not None}
