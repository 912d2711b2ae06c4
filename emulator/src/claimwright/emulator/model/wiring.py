"""Which NVLink of a GPU ends where."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from claimwright.emulator.errors import ProfileError
from claimwright.emulator.model.board import Board
from claimwright.emulator.model.node_profile import NodeProfile
from claimwright.emulator.model.pci import FunctionKind, PciAddress
from claimwright.emulator.model.state import NvLink, NvSwitch

_ELSEWHERE = PciAddress(0, 0, 0)  # what NVML gives for a switch that the node cannot see


def nvlinks(profile: NodeProfile, gpu: int, board: Board, nvswitches: Sequence[NvSwitch]) -> Iterator[NvLink]:
    """Wire each GPU's links to the switches in turn; a switch gives each GPU its own block of ports.

    Boards whose ports are not wired have no links.
    """
    if board.nvlink is None or profile.nvlink is None:
        return
    counts = [*profile.nvlink.links_per_switch, profile.nvlink.elsewhere]
    if sum(counts) != board.nvlink.links:
        raise ProfileError(
            f"node profile {profile.key!r}: nvlink wires {sum(counts)} links per GPU, "
            f"board {board.key} has {board.nvlink.links}"
        )
    ends = [*(each.pci for each in nvswitches), _ELSEWHERE]
    link = 0
    for end, count in zip(ends, counts, strict=True):
        for port in range(count):
            yield NvLink(link, True, end, FunctionKind.NVSWITCH, gpu * count + port)
            link += 1
