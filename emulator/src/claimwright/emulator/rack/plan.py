"""A rack before it boots: names, places, addresses and the clique, all made from the rack's name."""

from __future__ import annotations

import hashlib
import ipaddress
import re
import uuid
from dataclasses import asdict, dataclass
from typing import Any, Self

from claimwright.emulator.errors import ProfileError
from claimwright.emulator.model import NodeProfile
from claimwright.emulator.model.catalogue import closest
from claimwright.emulator.model.fabric.profile import FabricMembership, TrayPlace

BOARDS = {"gb200-nvl72": "gb200-tray", "gb300-nvl72": "gb300-tray"}  # rack → node profile of a compute tray
MOST_TRAYS = 64  # lines of nvidia-imex's nodes file
DEFAULT_PARTITION = (
    32766  # the partition id that NMX-C reserves for "all GPUs of the rack"; GPUs show it as clique
)
_FIRST_SLOT = 10  # captured trays 4 and 15 sit in slots 14 and 25
_NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,50}[a-z0-9])?")
_SPACE = uuid.uuid5(uuid.NAMESPACE_DNS, "rack.claimwright.emulator")


@dataclass(frozen=True, slots=True)
class TraySeat:
    """One compute tray: the node in it, its place, and the loopback address of its nvidia-imex."""

    node: str
    index: int
    slot: int
    address: str


@dataclass(frozen=True, slots=True)
class Rack:
    """A rack: one NVLink domain (`cluster_uuid`), one clique; `imex` says whether its trays run nvidia-imex."""

    name: str
    board: str
    cluster_uuid: str
    clique_id: int
    chassis_serial: str
    trays: tuple[TraySeat, ...]
    imex: bool = True

    @property
    def addresses(self) -> tuple[str, ...]:
        """The nodes file of its IMEX domain."""
        return tuple(seat.address for seat in self.trays)

    @property
    def clique(self) -> str:
        """The clique as drivers label it."""
        return f"{self.cluster_uuid}.{self.clique_id}"

    def as_json(self) -> dict[str, Any]:
        """Return what a record holds."""
        return asdict(self)

    @classmethod
    def from_json(cls, said: dict[str, Any]) -> Self:
        """Read a record."""
        return cls(**{**said, "trays": tuple(TraySeat(**seat) for seat in said["trays"])})


def plan(board: str, *, name: str, trays: int, imex: bool = True, salt: str = "") -> Rack:
    """Return the rack of this name; ProfileError says what cannot be.

    `salt` tells racks of one name apart where they share a machine's loopback (other users, other state folders).
    """
    if board not in BOARDS:
        raise ProfileError(f"there is no rack {board!r}; {closest(board, tuple(BOARDS))}")
    if not _NAME.fullmatch(name):
        raise ProfileError(f"{name!r} is no rack name; expected 1 to 52 of a-z, 0-9 and '-'")
    if not 1 <= trays <= MOST_TRAYS:
        raise ProfileError(f"a rack of {trays} trays; expected 1 to {MOST_TRAYS}")
    first = _first_address(f"{salt}/{name}")
    seats = tuple(
        TraySeat(f"{name}-tray-{index:02d}", index, index + _FIRST_SLOT, str(first + index))
        for index in range(trays)
    )
    return Rack(
        name=name,
        board=board,
        cluster_uuid=str(uuid.uuid5(_SPACE, f"cluster/{name}")),
        clique_id=DEFAULT_PARTITION,
        chassis_serial=f"18{int.from_bytes(_digest(f'chassis/{name}')[:6], 'big') % 10**11:011d}",
        trays=seats,
        imex=imex,
    )


def tray_profile(profile: NodeProfile, rack: Rack, seat: TraySeat) -> NodeProfile:
    """Return the node profile of one tray: the board's, at its place in this rack."""
    told = profile.fabric.health if profile.fabric else ()
    fabric = FabricMembership(
        state="completed", cluster_uuid=rack.cluster_uuid, clique_id=rack.clique_id, health=told
    )
    tray = TrayPlace(chassis_serial=rack.chassis_serial, slot=seat.slot, index=seat.index)
    return profile.model_copy(update={"fabric": fabric, "tray": tray})


def _first_address(text: str) -> ipaddress.IPv4Address:
    """Return a block of 64 addresses in 127.64.0.0/10, where nothing else is used to live."""
    block = int.from_bytes(_digest(text)[:2], "big")
    return ipaddress.IPv4Address("127.64.0.0") + block * MOST_TRAYS + 1


def _digest(text: str) -> bytes:
    return hashlib.sha256(text.encode()).digest()
