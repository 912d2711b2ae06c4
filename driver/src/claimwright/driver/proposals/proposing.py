"""What could be asked for on this node: each kind of device that it can offer, and each way to share one."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final

from claimwright.dra.quantities import Quantity
from claimwright.dra.slices import Device
from claimwright.driver.feature_gates import DEFAULTS, FeatureGates
from claimwright.driver.inventory import Inventory
from claimwright.driver.recipes.recipe import AnyRecipe
from claimwright.driver.stock import Stock

Recipes = Callable[[FeatureGates], Sequence[AnyRecipe]]
_API: Final = "resource.nvidia.com/v1beta1"
_OWN_API: Final = "gpu.claimwright.dev/v1alpha1"
# What tells devices of one type apart. A GPU that a VFIO driver holds loses its product name, but not its PCI ids.
_KINDS_OF_PART: Final = ("profile", "vgpuType")
_TELLING: Final = ("deviceID", "productName", *_KINDS_OF_PART)
# A template's name is a pod's claim reference: 63, less the mode before it and a number after it.
_LONGEST_NAME: Final = 63 - len("time-slicing-") - len("-00")


@dataclass(frozen=True)
class Proposal:
    """One way to use some devices of this node.

    `selects` are the attributes that its class selects by, `gate` the feature gate and `flag` the flag that the plugin
    needs for it, `parameters` the opaque config of its template, `amounts` how much of a capacity that asks for.
    """

    mode: str
    name: str
    type: str
    selects: Mapping[str, str]
    devices: tuple[str, ...]
    gate: str | None = None
    flag: str | None = None
    parameters: Mapping[str, Any] | None = None
    amounts: Mapping[str, str] = field(default_factory=dict)


def propose(inventory: Inventory, recipes: Recipes) -> tuple[Proposal, ...]:
    """Return every way, with names that differ; `recipes` makes the recipes for some feature gates."""
    return tuple(_named(way for group in _groups(inventory, recipes) for way in _ways(group)))


def _groups(inventory: Inventory, recipes: Recipes) -> Iterator[Proposal]:
    """Yield the devices that a class can name, with the first gate that lets the driver offer them."""
    seen: set[tuple[str, ...]] = set()
    alpha = (name for name, on in DEFAULTS.items() if not on)
    for gate in (None, *alpha):
        gates = FeatureGates({**DEFAULTS, **({gate: True} if gate else {})})
        found: dict[tuple[str, ...], list[Device]] = {}
        for offer in Stock(recipes(gates), inventory).offers.values():
            found.setdefault(_key(offer.device), []).append(offer.device)
        for key, devices in found.items():
            if key not in seen:
                yield _group(devices, gate)
        seen |= set(found)


def _key(device: Device) -> tuple[str, ...]:
    return (str(device.attributes["type"]), *(text for pair in _selects(device).items() for text in pair))


def _selects(device: Device) -> dict[str, str]:
    names = [name for name in _TELLING if isinstance(device.attributes.get(name), str)]
    if "deviceID" in names:
        names = [name for name in names if name != "productName"]
    return {name: str(device.attributes[name]) for name in names}


def _group(devices: Sequence[Device], gate: str | None) -> Proposal:
    kind, selects = str(devices[0].attributes["type"]), _selects(devices[0])
    product = str(devices[0].attributes.get("productName", "")).removeprefix("NVIDIA ")
    kinds = " ".join(selects[name] for name in _KINDS_OF_PART if name in selects)
    names = tuple(each.name for each in devices)
    amounts = _quarter(devices[0]) if kind == "gpu" else {}
    return Proposal(kind, _name(product, kinds), kind, selects, names, gate, amounts=amounts)


def _quarter(device: Device) -> Mapping[str, str]:
    """Return a quarter of the device's memory in whole GiB, as an example of a share."""
    memory = device.capacity.get("memory")
    gibibytes = int(memory) // 4 >> 30 if isinstance(memory, Quantity) else 0
    return {"memory": f"{gibibytes}Gi"} if gibibytes else {}


def _ways(group: Proposal) -> Iterator[Proposal]:
    if group.type == "vfio":
        iommu = {"backendPolicy": "LegacyOnly", "enableAPIDevice": True}
        yield replace(group, parameters={"apiVersion": _API, "kind": "VfioDeviceConfig", "iommu": iommu})
        return
    if group.type == "vgpu":
        iommu = {"backendPolicy": "LegacyOnly", "enableAPIDevice": True}
        own = {"apiVersion": _OWN_API, "kind": "VgpuDeviceConfig", "iommu": iommu}
        yield replace(group, amounts={}, parameters=own)
        return
    yield replace(group, amounts={})
    if group.amounts:
        yield replace(group, mode="share", gate="ConsumableShares", flag="--consumable-shares memory")
    if group.type == "gpu":
        slicing = {"strategy": "TimeSlicing", "timeSlicingConfig": {"interval": "Default"}}
        yield _shared(group, "time-slicing", "TimeSlicingSettings", slicing)
        mps = {"strategy": "MPS", "mpsConfig": {"defaultActiveThreadPercentage": 50}}
        yield _shared(group, "mps", "MPSSupport", mps)


def _shared(group: Proposal, mode: str, gate: str, sharing: Mapping[str, Any]) -> Proposal:
    parameters = {"apiVersion": _API, "kind": "GpuConfig", "sharing": sharing}
    return replace(group, mode=mode, gate=gate, parameters=parameters, amounts={})


def _named(ways: Iterable[Proposal]) -> Iterator[Proposal]:
    """Make names differ that became equal when they were cut or spelled."""
    used: dict[tuple[str, str], int] = {}
    for way in ways:
        count = used[way.mode, way.name] = used.get((way.mode, way.name), 0) + 1
        yield way if count == 1 else replace(way, name=f"{way.name}-{count}")


def _name(product: str, part: str) -> str:
    """Spell a product, and what part of it, as part of an object's name; the product is cut when it must be."""
    # `-me` and `+me` differ in a sign that names cannot have.
    end = _slug(part.replace(".", "").replace("-me", " no me"))
    start = _slug(product)[: max(8, _LONGEST_NAME - len(end) - 1)].strip("-") or "gpu"
    return f"{start}-{end}" if end else start


def _slug(text: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")
