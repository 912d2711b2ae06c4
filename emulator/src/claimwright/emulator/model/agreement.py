"""What a node profile says that its boards cannot do; each of both alone is valid."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from claimwright.emulator.errors import ProfileError
from claimwright.emulator.model.board import Board
from claimwright.emulator.model.node_profile import GpuSlot, NodeProfile

_WIDTHS = (1, 2, 4, 8, 16, 32)  # lanes that a PCIe link can train to


def check_agreement(profile: NodeProfile, slots: Sequence[GpuSlot], boards: Mapping[str, Board]) -> None:
    """Raise ProfileError naming every field of the node that none of its boards can fulfil."""
    faults = [*_link_width_faults(slots, boards), *_fabric_faults(profile, boards)]
    if faults:
        raise ProfileError(
            "\n  ".join([f"node profile {profile.key!r} asks for what its boards are not:", *faults])
        )


def _link_width_faults(slots: Sequence[GpuSlot], boards: Mapping[str, Board]) -> Iterator[str]:
    for slot in slots:
        most = boards[slot.board].pci.link_width
        if slot.link_width is not None and (slot.link_width not in _WIDTHS or slot.link_width > most):
            yield f"{slot.at}: link_width {slot.link_width}: expected 1, 2, 4, … up to {slot.board}'s {most}"


def _fabric_faults(profile: NodeProfile, boards: Mapping[str, Board]) -> Iterator[str]:
    linked = any(board.nvlink is not None for board in boards.values())
    member = any(board.fabric_capable for board in boards.values())
    keys = ", ".join(sorted(boards))
    if profile.nvlink is not None and not linked:
        yield f"nvlink: none of {keys} has NVLink"
    if profile.fabric_manager is not None and not linked:
        yield f"fabric_manager: none of {keys} has NVLink, so there is nothing to manage"
    if profile.fabric is not None and not member:
        yield f"fabric: none of {keys} is fabric_capable"
    if profile.tray is not None and not member:
        yield f"tray: none of {keys} is fabric_capable, so none tells its place in a rack"
