"""Where a GPU is among the other devices of the machine, read from sysfs."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import PurePosixPath
from typing import Final

from claimwright.driver.inventory.functions import PCI_DEVICES
from claimwright.driver.inventory.gpus import NearestNic
from claimwright.driver.ports import Host

# PCI class codes: Ethernet and InfiniBand controllers (PCI Code and ID Assignment Specification, base class 02h).
_NETWORK: Final = re.compile(r"0x02(00|07)")
_VIRTUAL_FUNCTION: Final = "physfn"


def network_cards(host: Host) -> Mapping[str, str]:
    """Return the link targets of all network cards by PCI address, without virtual functions."""
    found = {}
    for address in host.entries(PCI_DEVICES):
        folder = PCI_DEVICES / address
        if _NETWORK.match(host.read_text(folder / "class") or "") and not host.kind(
            folder / _VIRTUAL_FUNCTION
        ):
            found[address] = host.read_link(folder) or ""
    return found


def nearest_nic(gpu: str | None, nics: Mapping[str, str]) -> NearestNic | None:
    """Return the card that shares the longest way to the root with the GPU; the first by address of equals.

    `gpu` and the values of `nics` are link targets below /sys/bus/pci/devices. None when none shares a root complex:
    what is elsewhere in the machine is for `numaNode` to tell.
    """
    if gpu is None:
        return None
    here = _bridges(gpu)
    shared = {address: _common(here, _bridges(link)) for address, link in nics.items()}
    near = min(shared, key=lambda address: (-shared[address], address), default=None)
    if near is None or shared[near] == 0:
        return None
    return NearestNic(near, _path(here, _bridges(nics[near]), shared[near]))


def _bridges(link: str) -> Sequence[str]:
    """Return the elements above a device, root complex first; the device itself is not among them."""
    return PurePosixPath(link.partition("devices/")[2]).parts[:-1]


def _common(one: Sequence[str], other: Sequence[str]) -> int:
    count = 0
    for left, right in zip(one, other, strict=False):
        if left != right:
            break
        count += 1
    return count


def _path(here: Sequence[str], there: Sequence[str], shared: int) -> str:
    """Say it as nvidia-smi topo does: PIX one bridge at most, PXB several, PHB the host bridge."""
    if shared == 1:
        return "PHB"
    # Below the last shared element each side goes through its own ports of one switch: that is still one bridge.
    return "PIX" if max(len(here), len(there)) - shared <= 1 else "PXB"
