"""The PCI functions of a captured machine as the sections `devices` and `pcie` of a profile."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from claimwright.emulator.captures.boards import Placed
from claimwright.emulator.captures.capture import Capture, Part, number
from claimwright.emulator.captures.profile_writing import Hex
from claimwright.emulator.model import PciAddress

_BRIDGE, _AUDIO, _NVSWITCH = 0x0604, 0x0403, 0x0680
_NETWORK, _INFINIBAND = 0x0200, 0x0207
_MODELS = {
    0x1017: "ConnectX-5",
    0x101B: "ConnectX-6",
    0x101D: "ConnectX-6 Dx",
    0x1021: "ConnectX-7",
    0x1023: "ConnectX-8",
}
_PLAIN = {"kind": "bridge", "vendor": Hex(0x8086), "device": Hex(0x352A)}


def pcie_sections(capture: Capture, gpus: list[Placed]) -> dict[str, Any]:
    """Return both sections; without captured functions each GPU gets a root port of its own."""
    if not capture.numbers("pci"):
        return _plainest(gpus)
    forest = _Forest(capture, {str(gpu.at): gpu for gpu in gpus})
    for each in capture.numbers("pci"):
        forest.add(capture.below(f"pci.{each}"))
    for gpu in gpus:
        if not forest.holds(gpu):
            raise gpu.told.refused("at", f"no pci.N.path leads to {gpu.at}")
    return {"devices": forest.devices, "pcie": forest.roots()}


@dataclass(slots=True)
class _Forest:
    """Trees under construction: by root, then by the keys of the profile's notation."""

    capture: Capture
    gpus: Mapping[str, Placed]
    devices: dict[str, dict[str, Any]] = field(default_factory=dict)
    _trees: dict[str, dict[str, Any]] = field(default_factory=dict)
    _numa: dict[str, int] = field(default_factory=dict)
    _keys: dict[str, str] = field(default_factory=dict)

    def roots(self) -> list[dict[str, Any]]:
        """Return the section `pcie`, without bridges that nothing known is behind."""
        return [
            {"root": root, "numa": self._numa[root], "tree": tree}
            for root, branches in sorted(self._trees.items())
            if (tree := _pruned(branches))
        ]

    def holds(self, gpu: Placed) -> bool:
        """Tell whether a GPU found its place in a tree."""
        return str(gpu.at) in self._keys

    def add(self, told: Part) -> None:
        """Put one function where its path says; functions that a profile knows nothing of are left out."""
        path = told.need("path").split()
        if len(path) < 2 or not path[0].startswith("pci"):
            raise told.refused(
                "path", f"{told['path'][:60]!r} does not begin with a root such as pci0000:50, and go on"
            )
        root, at = path[0].removeprefix("pci"), path[-1]
        named = self._named(at, told)
        if named is None:
            return
        key = f"{at.partition(':')[2]} {named[0]}"
        self._keys[at] = key
        self._numa.setdefault(root, number(told, "numa_node", -1))
        self._branch(root, path[1:-1], told)[key] = named[1]

    def _branch(self, root: str, bridges: list[str], told: Part) -> dict[str, Any]:
        branch = self._trees.setdefault(root, {})
        for bridge in bridges:
            behind = branch.get(self._keys.get(bridge, ""))
            if behind is None:
                raise told.refused(
                    "path", f"{bridge[:20]} is no captured bridge listed before what is behind it"
                )
            branch = behind
        return branch

    def _named(self, at: str, told: Part) -> tuple[str, dict[str, Any]] | None:
        if at in self.gpus:
            return self.gpus[at].board, dict(self.gpus[at].settings)
        code = number(told, "class") >> 8
        if code == _BRIDGE:
            return self._device(
                "bridge", {"kind": "bridge", **_ids(told), "link_generation": _generation(told)}
            ), {}
        if code == _NVSWITCH and number(told, "vendor") == 0x10DE:
            return self._nvswitch(at, told)
        if code == _AUDIO and f"{at[:-1]}0" in self.gpus:
            return self._device("audio", {"kind": "audio", "device": Hex(number(told, "device"))}), {}
        return self._nic(at, told) if code in {_NETWORK, _INFINIBAND} else None

    def _nvswitch(self, at: str, told: Part) -> tuple[str, dict[str, Any]] | None:
        own = self._beside("nvswitch", at)
        if own is None:
            return None  # its driver was not loaded: nothing is known of its place
        name = self._device("nvswitch", {"kind": "nvswitch", "device": Hex(number(told, "device"))})
        return name, {"physical_id": number(own, "physical_id")}

    def _nic(self, at: str, told: Part) -> tuple[str, dict[str, Any]] | None:
        own = self._beside("nic", at)
        if own is None:
            return None
        facts = {
            "kind": "nic",
            "model": _MODELS.get(number(told, "device"), "ConnectX"),
            "link_layer": own.get("link_layer", "ethernet"),
            **_ids(told),
            "subsystem_device": Hex(number(told, "subsystem_device")),
            "link_generation": _generation(told),
            **({"manages_nvlink": True} if own.get("manages_nvlink") == "true" else {}),
        }
        return self._device("nic", facts), {"name": own.need("name")}

    def _beside(self, kind: str, at: str) -> Part | None:
        for each in self.capture.numbers(kind):
            told = self.capture.below(f"{kind}.{each}")
            if told.get("at") == at:
                return told
        return None

    def _device(self, kind: str, facts: dict[str, Any]) -> str:
        """Return the name of a kind of device, listed once."""
        for name, known in self.devices.items():
            if known == facts:
                return name
        name = f"{kind}-{1 + sum(known['kind'] == facts['kind'] for known in self.devices.values())}"
        self.devices[name] = facts
        return name


def _ids(told: Part) -> dict[str, Any]:
    return {name: Hex(number(told, name)) for name in ("vendor", "device")}


def _generation(told: Part) -> int:
    return number(told, "link_generation", 1)


def _pruned(branches: dict[str, Any]) -> dict[str, Any]:
    """Leave out bridges with nothing behind them (their value is still empty, as no endpoint's settings are)."""
    kept: dict[str, Any] = {}
    for key, value in branches.items():
        if not key.split()[1].startswith("bridge-"):
            kept[key] = value
        elif behind := _pruned(value):
            kept[key] = behind
    return kept


def _plainest(gpus: list[Placed]) -> dict[str, Any]:
    """Hang GPUs on root ports of their own; neighbouring buses share a root, which is on the bus before them."""
    devices: dict[str, dict[str, Any]] = {}
    roots: list[dict[str, Any]] = []
    last: PciAddress | None = None
    for gpu in gpus:
        branch = {f"{str(gpu.at).partition(':')[2]} {gpu.board}": dict(gpu.settings)}
        if gpu.at.bus == 0:
            roots.append({"root": f"{gpu.at.domain:04x}:00", "numa": -1, "tree": branch})
            continue
        if last is None or (last.domain, last.bus + 1) != (gpu.at.domain, gpu.at.bus):
            roots.append({"root": f"{gpu.at.domain:04x}:{gpu.at.bus - 1:02x}", "numa": 0, "tree": {}})
        generation = number(gpu.told, "pci.host_generation", gpu.base.pci.link_generation)
        name = f"root-port-{generation}"
        devices[name] = {**_PLAIN, "link_generation": generation}
        tree = roots[-1]["tree"]
        tree[f"{roots[-1]['root'].partition(':')[2]}:{len(tree) + 1:02x}.0 {name}"] = branch
        last = gpu.at
    return {"devices": devices, "pcie": roots}
