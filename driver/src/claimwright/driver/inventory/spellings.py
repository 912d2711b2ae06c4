"""How claims spell what NVML says in numbers: the community driver's words, since claims select by them."""

from __future__ import annotations

import re

from claimwright.driver.errors import NodeUnusable

BRANDS = {
    0: "Unknown",
    1: "Quadro",
    2: "Tesla",
    3: "NVS",
    4: "Grid",
    5: "GeForce",
    6: "Titan",
    7: "NvidiaVApps",
    8: "NvidiaVPC",
    9: "NvidiaVCS",
    10: "NvidiaVWS",
    11: "NvidiaCloudGaming",
    12: "QuadroRTX",
    13: "NvidiaRTX",
    14: "Nvidia",
    15: "GeForceRTX",
    16: "TitanRTX",
}
ARCHITECTURES = {
    2: "Kepler",
    3: "Maxwell",
    4: "Pascal",
    5: "Volta",
    6: "Turing",
    7: "Ampere",
    8: "Ada Lovelace",
    9: "Hopper",
    10: "Blackwell",
    13: "Rubin",
}
ADDRESSING_MODES = {0: "None", 1: "HMM", 2: "ATS"}
_PCI_BUS_ID = re.compile(r"[0-9a-f]{4}:[0-9a-f]{2}:[0-9a-f]{2}\.[0-9a-f]")


def semantic_version(text: str) -> str:
    """Coerce `9.0` or `570.86.05` to the three plain numbers that Kubernetes takes as a version."""
    numbers = re.match(r"\d+(?:\.\d+)*", text)
    if numbers is None:
        raise NodeUnusable(f"{text!r} is no version: expected numbers with dots, for example 580.126.20")
    parts = [str(int(number)) for number in numbers.group().split(".")]
    return ".".join([*parts, "0", "0"][:3])


def pci_address(nvml_bus_id: str) -> str:
    """Turn NVML's `00000000:65:00.0` into sysfs' `0000:65:00.0`."""
    text = nvml_bus_id.lower()
    address = text[4:] if re.match(r"0000[0-9a-f]{4}:", text) else text
    if not _PCI_BUS_ID.fullmatch(address):
        raise NodeUnusable(f"NVML names PCI address {nvml_bus_id!r}; expected one like 00000000:65:00.0")
    return address


def number_of(text: str | None) -> int | None:
    """Read a number as sysfs writes it, decimal or with 0x; None when there is none."""
    try:
        return None if text is None else int(text, 0)
    except ValueError:
        return None
