"""Which board each captured GPU is: one of the catalogue, or a variant of one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import JsonValue

from claimwright.emulator.captures.board_leaves import differences
from claimwright.emulator.captures.capture import Capture, Part, number
from claimwright.emulator.captures.errors import CaptureError
from claimwright.emulator.captures.variants import variant_fields
from claimwright.emulator.model import Board, PciAddress, board_names, load_board


@dataclass(frozen=True, slots=True)
class Placed:
    """A captured GPU: what it told, the catalogue's board nearest to it, and the key that its slot gets."""

    at: PciAddress
    told: Part
    base: Board
    board: str
    differs: Mapping[str, JsonValue]
    settings: Mapping[str, Any]


def placed_gpus(capture: Capture, key: str) -> list[Placed]:
    """Return all GPUs in order of address; variants are named after the profile's key."""
    numbers = capture.numbers("gpu")
    if not numbers:
        raise CaptureError(f"{capture.source or 'the capture'} lists no gpu")
    told = sorted((capture.below(f"gpu.{each}") for each in numbers), key=_address)
    serials = [gpu.get("serial", "") for gpu in told]
    known: list[dict[str, JsonValue]] = []
    return [_placed(gpu, key, serials, known) for gpu in told]


def variants(gpus: list[Placed]) -> list[dict[str, Any]]:
    """Return the section `boards` of the profile."""
    found = {gpu.board: gpu for gpu in gpus if gpu.board != gpu.base.key}
    return [{"key": key, "like": gpu.base.key, "differs": dict(gpu.differs)} for key, gpu in found.items()]


def _address(told: Part) -> PciAddress:
    try:
        return PciAddress.parse(told.need("at"))
    except ValueError as error:
        raise told.refused("at", str(error)) from None


def _placed(told: Part, key: str, serials: list[str], known: list[dict[str, JsonValue]]) -> Placed:
    base = _nearest(told)
    differs = variant_fields(base, told)
    board = base.key
    if differs:
        variant: dict[str, JsonValue] = {"like": base.key, **differs}
        if variant not in known:
            known.append(variant)
        board = f"{key}-{known.index(variant) + 1}"
    return Placed(_address(told), told, base, board, differs, _settings(told, base, serials))


def _nearest(told: Part) -> Board:
    """Return the board with the same device id that differs least, else the likest of its generation."""
    boards = [load_board(name) for name in board_names()]
    device, generation = number(told, "pci.device", -1), told.get("architecture")
    same = [board for board in boards if board.pci.device == device]
    similar = [board for board in boards if board.architecture.name.lower() == generation]
    if not same and not similar:
        raise CaptureError(
            f"no board profile is near a GPU of architecture {generation!r}, device {device:#06x}"
        )
    return min(same or similar, key=lambda board: distance(board, told))


def distance(board: Board, told: Part) -> tuple[bool, bool, int]:
    """Weigh first what decides how a GPU is cut and who sees its memory: chip and coherence."""
    found = differences(board, told)
    coherent = told.get("addressing_mode") == "ats"
    return "cuda_capability" in found, coherent is not board.coherent_memory, len(found)


def _settings(told: Part, base: Board, serials: list[str]) -> dict[str, Any]:
    settings: dict[str, Any] = {}
    if "module_id" in told:
        settings["module_id"] = number(told, "module_id")
    serial = told.get("serial", "")
    if serial and serials.count(serial) > 1:
        settings["carrier"] = list(dict.fromkeys(serials)).index(serial)
    width = number(told, "pci.trained_width", base.pci.link_width)
    if width != number(told, "pci.link_width", base.pci.link_width):
        settings["link_width"] = width
    if told.get("parts.board", base.parts.board) != base.parts.board:
        settings["board_part"] = told["parts.board"]
    return settings
