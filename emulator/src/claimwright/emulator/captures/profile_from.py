"""From a capture to the profile of a node that says the same."""

from __future__ import annotations

import re
from typing import Any

from claimwright.emulator.captures.boards import Placed, placed_gpus, variants
from claimwright.emulator.captures.capture import Capture, Part, number
from claimwright.emulator.captures.errors import CaptureError
from claimwright.emulator.captures.numa_sections import numa_sections
from claimwright.emulator.captures.profile_writing import profile_text
from claimwright.emulator.captures.trees import pcie_sections
from claimwright.emulator.errors import ProfileError
from claimwright.emulator.model import NodeProfile
from claimwright.emulator.model.profile_text import parse_profile

_DRIVER = re.compile(r"\d{3}\.\d{2,3}(\.\d{2})?")
_END = re.compile(r"([0-9a-f:.]+)=([0-9]{1,4})")
_HEALTH = (
    "degraded_bandwidth",
    "route_recovery",
    "route_unhealthy",
    "access_timeout_recovery",
    "misconfiguration",
)
_ZERO = "00000000-0000-0000-0000-000000000000"


def profile_from(capture: Capture, key: str) -> NodeProfile:
    """Return the profile of a captured machine; CaptureError names what is missing or does not fit."""
    text = profile_text_from(capture, key)
    try:
        return parse_profile(NodeProfile, text, f"profile {key}")
    except ProfileError as error:
        raise CaptureError(f"{capture.source or 'the capture'} makes no profile: {error}") from None


def profile_text_from(capture: Capture, key: str) -> str:
    """Return the text of that profile, to be read, changed and booted with `node up --profile`.

    Boards of the catalogue are used where the capture agrees with them, variants of them elsewhere. A capture without
    a PCI tree (a report of nvidia-smi) gets the plainest one, and says so under `unverified`.
    """
    gpus = placed_gpus(capture, key)
    sections = {
        "key": key,
        "title": f"Recorded: {_title(gpus)}",
        **_driver(capture),
        "machine": _machine(capture, gpus),
        "iommu": any(path.endswith(".iommu_group") for path in capture.leaves),
        "persistence_mode": capture.leaves.get("gpu.0.persistence_mode") == "true",
        "vgpu_manager": gpus[0].told.get("virtualization", "").startswith("host_"),
        **numa_sections(capture, gpus),
        **pcie_sections(capture, gpus),
        **_links(capture, gpus),
        **_fabric(capture),
        **_tray(capture),
        "boards": variants(gpus),
        "unverified": [] if capture.numbers("pci") else ["iommu", "numa", "pcie", "nvlink"],
    }
    return profile_text({name: value for name, value in sections.items() if value not in ({}, [])})


def _title(gpus: list[Placed]) -> str:
    names = [gpu.told.get("name", gpu.base.name) for gpu in gpus]
    return ", ".join(f"{names.count(name)} x {name}" for name in dict.fromkeys(names))


def _driver(capture: Capture) -> dict[str, Any]:
    version = capture.need("driver.version")
    if not _DRIVER.fullmatch(version):
        raise capture.refused("driver.version", f"{version[:60]!r} is not like 580.126.20")
    return {
        "driver_version": version,
        "cuda_driver_version": number(capture, "driver.cuda_version"),
    }


def _machine(capture: Capture, gpus: list[Placed]) -> dict[str, Any]:
    grace = any(gpu.told.get("addressing_mode") == "ats" for gpu in gpus)
    told, mode = capture.leaves, gpus[0].told.get("virtualization", "none")
    return {
        "vendor": told.get("machine.vendor") or "Claimwright",
        "product": told.get("machine.product") or "Recorded machine",
        "architecture": "aarch64" if grace else "x86_64",
        "virtualization": mode if mode == "pass_through" else "none",
    }


def _links(capture: Capture, gpus: list[Placed]) -> dict[str, Any]:
    """Tell the wiring of the first GPU that has any; a fabric without word of links goes out of the node."""
    switches = [capture.need(f"nvswitch.{each}.at") for each in capture.numbers("nvswitch")]
    ends = next((_ends(gpu.told) for gpu in gpus if gpu.told.get("nvlink.ends")), {})
    if not ends and "fabric.state" in gpus[0].told and gpus[0].base.nvlink is not None:
        ends = {"elsewhere": gpus[0].base.nvlink.links}
    if not ends:
        return {}
    inside = [ends.pop(each, 0) for each in switches]
    wiring = {"nvlink": {"links_per_switch": inside, "elsewhere": sum(ends.values())}}
    alone = gpus[0].told.get("fabric.cluster_uuid", _ZERO) == _ZERO
    return {**wiring, "fabric_manager": {"mode": "bare_metal"}} if alone else wiring


def _ends(told: Part) -> dict[str, int]:
    """Read `0000:10:00.0=5 0000:11:00.0=4`, the number of links to each end."""
    found = [_END.fullmatch(word) for word in told["nvlink.ends"].split()]
    if None in found:
        raise told.refused("nvlink.ends", f"{told['nvlink.ends'][:60]!r} is not like 0000:10:00.0=5")
    return {each[1]: int(each[2]) for each in found if each is not None}


def _fabric(capture: Capture) -> dict[str, Any]:
    told = next(
        (found for gpu in capture.numbers("gpu") if (found := capture.below(f"gpu.{gpu}.fabric"))), None
    )
    if told is None or "state" not in told:
        return {}
    return {
        "fabric": {
            "state": told["state"],
            "cluster_uuid": told.get("cluster_uuid", _ZERO),
            "clique_id": number(told, "clique_id", 0),
            "health": [fact for fact in _HEALTH if fact in told],
        }
    }


def _tray(capture: Capture) -> dict[str, Any]:
    told = capture.below("gpu.0.tray")
    if not told:
        return {}
    counted = {name: number(told, name) for name in ("slot", "index", "host_id") if name in told}
    return {"tray": {"chassis_serial": told.get("chassis_serial", ""), **counted}}
