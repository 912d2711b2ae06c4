"""What sysfs and procfs of a machine tell, below a root folder: PCI, NUMA, adapters, NVSwitches, DMI."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from claimwright.emulator.captures.board_leaves import bars_leaf

_ADDRESS = re.compile(r"[0-9a-f]{4,}:[0-9a-f]{2}:[0-9a-f]{2}\.[0-7]")
_GENERATIONS = {"2.5": 1, "5.0": 2, "8.0": 3, "16.0": 4, "32.0": 5, "64.0": 6, "128.0": 7}
_NVIDIA, _NETWORK_CLASS, _VIRTUAL = "0x10de", "0x02", "physfn"
_RESOURCE_MEMORY = 0x200
_BARS = 6

Leaf = tuple[str, str]


def file_leaves(root: Path) -> Iterator[Leaf]:
    """Yield the leaves of one machine: its GPUs, adapters and NVSwitches, and all bridges above them."""
    devices = _wanted(root / "sys/bus/pci/devices")
    for index, (address, place) in enumerate(sorted(devices.items())):
        yield from ((f"pci.{index}.{leaf}", value) for leaf, value in _function(address, place))
    yield from _numa(root / "sys/devices/system")
    yield from _adapters(root / "sys/class/infiniband")
    yield from _nvswitches(root / "proc/driver/nvidia-nvswitch/devices")
    for leaf, name in (("vendor", "sys_vendor"), ("product", "product_name")):
        if value := _said(root / "sys/class/dmi/id" / name):
            yield f"machine.{leaf}", value


def _wanted(folder: Path) -> dict[str, Path]:
    """Return the functions to record and the bridges above them, by address; virtual functions come and go."""
    if not folder.is_dir():
        return {}
    found: dict[str, Path] = {}
    for link in folder.iterdir():
        if _is_wanted(link) and not (link / _VIRTUAL).exists():
            folder_of = link.resolve()
            steps = (step for step in (folder_of, *folder_of.parents) if _ADDRESS.fullmatch(step.name))
            found.update((step.name, step) for step in steps)
    return found


def _is_wanted(link: Path) -> bool:
    """Take what is NVIDIA's, apart from its bridges, and every adapter that has an RDMA device."""
    code = _said(link / "class")
    if code.startswith(_NETWORK_CLASS):
        return (link / "infiniband").is_dir()
    bridge = code.startswith("0x06") and not code.startswith("0x0680")  # 0x0680: what an NVSwitch says it is
    return _said(link / "vendor") == _NVIDIA and not bridge


def _function(address: str, place: Path) -> Iterator[Leaf]:
    root = next(each.name for each in place.parents if each.name.startswith("pci"))
    bridges = [each.name for each in reversed(place.parents) if _ADDRESS.fullmatch(each.name)]
    yield "at", address
    yield "path", " ".join([root, *bridges, address])
    for leaf in (
        "vendor",
        "device",
        "subsystem_vendor",
        "subsystem_device",
        "class",
        "revision",
        "numa_node",
    ):
        if value := _said(place / leaf):
            yield leaf, value
    if bars := _bars(place / "resource"):
        yield "bars", bars
    for leaf, name in (("link_generation", "max_link_speed"), ("trained_generation", "current_link_speed")):
        if generation := _GENERATIONS.get(_said(place / name).split(" ")[0]):
            yield leaf, str(generation)
    for leaf, name in (("link_width", "max_link_width"), ("trained_width", "current_link_width")):
        if value := _said(place / name):
            yield leaf, value
    for leaf in ("iommu_group", "driver"):
        if (place / leaf).is_symlink():
            yield leaf, (place / leaf).readlink().name


def _bars(resource: Path) -> str:
    bars: dict[int, tuple[int, int]] = {}
    for index, line in enumerate(_said(resource).splitlines()[:_BARS]):
        start, end, flags = (int(word, 16) for word in line.split())
        if flags & _RESOURCE_MEMORY and end > start:
            bars[index] = (end - start + 1, flags)
    return bars_leaf(bars)


def _numa(system: Path) -> Iterator[Leaf]:
    nodes = sorted((system / "node").glob("node[0-9]*"), key=lambda path: int(path.name[4:]))
    for node in nodes:
        start = f"numa.{node.name[4:]}"
        cpus = _said(node / "cpulist")
        yield f"{start}.cpus", cpus
        yield f"{start}.distances", " ".join(_said(node / "distance").split())
        if total := re.search(r"MemTotal:\s+(\d+) kB", _said(node / "meminfo")):
            yield f"{start}.memory_mib", str(int(total[1]) // 1024)
        if first := re.match(r"\d+", cpus):
            topology = system / f"cpu/cpu{first[0]}/topology/physical_package_id"
            yield f"{start}.socket", _said(topology) or "0"


def _adapters(folder: Path) -> Iterator[Leaf]:
    for index, adapter in enumerate(sorted(folder.glob("*"), key=lambda path: _natural(path.name))):
        start = f"nic.{index}"
        yield f"{start}.name", adapter.name
        yield f"{start}.at", (adapter / "device").resolve().name
        yield f"{start}.link_layer", _said(adapter / "ports/1/link_layer").lower() or "ethernet"
        if guid := _said(adapter / "node_guid"):
            yield f"{start}.guid", guid
        if b"SW_MNG" in _bytes(adapter / "device/vpd"):
            yield f"{start}.manages_nvlink", "true"


def _nvswitches(folder: Path) -> Iterator[Leaf]:
    for index, chip in enumerate(sorted(folder.glob("*:*"))):
        yield f"nvswitch.{index}.at", chip.name
        told = "\n".join(_said(file) for file in sorted(chip.glob("*")))
        if physical := re.search(r"Physical location ID: *(\d+)", told):
            yield f"nvswitch.{index}.physical_id", physical[1]


def _natural(name: str) -> tuple[str, int]:
    word = name.rstrip("0123456789")
    return word, int(name[len(word) :] or 0)


def _said(path: Path) -> str:
    """Return what a file says, nothing when it is not there or not ours to read."""
    return _bytes(path).decode(errors="replace").strip()


def _bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        return b""
