"""The fleet: nodes by name, of one profile or of several."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from claimwright.emulator.errors import NodeExists, NodeNotFound
from claimwright.emulator.fleet.node import FleetNode
from claimwright.emulator.fleet.sharing import Shared
from claimwright.emulator.model import NodeProfile, build_node, load_node_profile
from claimwright.emulator.rack.plan import BOARDS, Rack, tray_profile

if TYPE_CHECKING:
    from claimwright.emulator.kubelet import StandInNode

_CLIQUE_LABEL = "nvidia.com/gpu.clique"


class Fleet(Mapping[str, FleetNode]):
    """A mapping of its nodes by name, in the order they came. Not safe to grow from several threads at once."""

    def __init__(
        self, profile: NodeProfile | str | None = None, *, nodes: int = 0, prefix: str = "node"
    ) -> None:
        """`nodes` of a profile, named `<prefix>-0`, `<prefix>-1` …; without a profile the fleet begins empty."""
        self._shared = Shared()
        self._nodes: dict[str, FleetNode] = {}
        for number in range(nodes if profile is not None else 0):
            assert profile is not None
            self.add(profile, name=f"{prefix}-{number}")

    def __getitem__(self, name: str) -> FleetNode:
        try:
            return self._nodes[name]
        except KeyError:
            raise NodeNotFound(f"no node {name!r} in this fleet of {len(self._nodes)}") from None

    def __contains__(self, name: object) -> bool:
        return name in self._nodes

    def __iter__(self) -> Iterator[str]:
        return iter(self._nodes)

    def __len__(self) -> int:
        return len(self._nodes)

    def add(self, profile: NodeProfile | str, *, name: str) -> FleetNode:
        """Boot one more node; NodeExists when the name is taken, ProfileError when it cannot be."""
        if name in self._nodes:
            raise NodeExists(f"node {name!r} is in this fleet already")
        profile = load_node_profile(profile) if isinstance(profile, str) else profile
        self._nodes[name] = FleetNode(build_node(profile, name), self._shared)
        return self._nodes[name]

    def add_rack(self, rack: Rack) -> list[FleetNode]:
        """Boot the trays of a planned rack (`rack.plan`); their daemons are processes, so there are none here."""
        profile = load_node_profile(BOARDS[rack.board])
        return [self.add(tray_profile(profile, rack, seat), name=seat.node) for seat in rack.trays]

    def remove(self, name: str) -> None:
        """Take a node out; NodeNotFound when it is not there."""
        del self._nodes[self[name].name]

    def standing_in(self, folder: Path, *, names: Iterable[str] | None = None) -> list[StandInNode]:
        """Return what `StandInKubelet` takes: each node with a folder of its own below `folder` and its labels."""
        from claimwright.emulator.kubelet import StandInNode  # noqa: PLC0415 - gRPC only where it is used

        chosen = [self[name] for name in (self if names is None else names)]
        return [StandInNode(node.name, folder / node.name, labels=_labels(node)) for node in chosen]


def _labels(node: FleetNode) -> dict[str, str]:
    return {_CLIQUE_LABEL: node.clique} if node.clique else {}
