"""One thing that is wrong with a GPU, or with a partition of it, as a value; and the taints that say so."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from claimwright.dra.slices import Taint, TaintEffect
from claimwright.driver.recipes.mig_device import MigDevice
from claimwright.driver.recipes.recipe import AnyOffer

# The community driver's keys, which tolerations and DeviceTaintRules in the field name.
XID: Final = "gpu.nvidia.com/xid"
GPU_LOST: Final = "gpu.nvidia.com/gpu-lost"
UNMONITORED: Final = "gpu.nvidia.com/unmonitored"
# Ours, for what that driver does not tell.
DRIVER: Final = "claimwright.dev/driver"
FABRIC: Final = "claimwright.dev/fabric"
INFOROM: Final = "claimwright.dev/inforom"
MEMORY: Final = "claimwright.dev/memory"
NVLINK: Final = "claimwright.dev/nvlink"
PCIE: Final = "claimwright.dev/pcie"
RECOVERY: Final = "claimwright.dev/recovery"
THROTTLED: Final = "claimwright.dev/throttled"
UNREADABLE: Final = "claimwright.dev/unreadable"

_SEVERITY: Final = {"None": 0, "NoSchedule": 1, "NoExecute": 2}


@dataclass(frozen=True)
class Instance:
    """A partition by what names its device: GPU instance profile id and first memory slice."""

    profile_id: int
    start: int


@dataclass(frozen=True)
class Ailment:
    """What is wrong: the taint that says so, and a sentence for people.

    `gpu` is a PCI address, empty for every GPU of the node; `instance` narrows it to one partition.
    """

    key: str
    effect: TaintEffect
    value: str
    text: str
    gpu: str = ""
    instance: Instance | None = None

    @property
    def severe(self) -> bool:
        """Whether the device should not be given away."""
        return self.effect != "None"


def concerns(ailment: Ailment, offer: AnyOffer) -> bool:
    """Tell whether `offer` is of what ails."""
    if ailment.gpu and ailment.gpu != offer.hardware:
        return False
    if ailment.instance is None:
        return True
    device = offer.source
    if not isinstance(device, MigDevice):
        return False
    return ailment.instance == Instance(device.profile.profile_id, device.placement.start)


def taints_of(ailments: Iterable[Ailment]) -> tuple[Taint, ...]:
    """Return one taint per key, the most severe: a harmless XID after a fatal one weakens nothing."""
    worst: dict[str, Ailment] = {}
    for ailment in ailments:
        known = worst.get(ailment.key)
        if known is None or _SEVERITY[ailment.effect] >= _SEVERITY[known.effect]:
            worst[ailment.key] = ailment
    return tuple(Taint(key, each.effect, each.value) for key, each in sorted(worst.items()))
