"""Which virtual function a claim gets: the first of its GPU that nobody has.

Plans are made side by side and before their claims are in the journal, so what was given to one plan is kept from
others until its claim holds it, or for as long as a plan may wait for its GPU. A claim that holds it ends the plan, or
claims that come and go within that time would use up all functions.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import PurePosixPath
from typing import Final, TypeAlias

from claimwright.driver.entries import Entry
from claimwright.driver.errors import StepFailed
from claimwright.driver.holdings import Holdings
from claimwright.driver.inventory import PCI_DEVICES, Gpu
from claimwright.driver.inventory.vgpus import vgpu_type_on, virtual_functions
from claimwright.driver.ports import Clock, Host
from claimwright.driver.tools import vgpu_type

_PLANNED_SECONDS: Final = 30.0
# The device nodes of a claim's CDI device, by claim and name: for claims that no journal remembers.
NodesOf: TypeAlias = Callable[[str, str], frozenset[str]]


class FreeFunctions:
    """Chooses functions."""

    def __init__(
        self,
        host: Host,
        clock: Clock,
        holdings: Holdings,
        nodes_of: NodesOf = lambda _claim, _name: frozenset(),
    ) -> None:
        self._host = host
        self._clock = clock
        self._nodes_of = nodes_of
        self._planned: dict[str, tuple[str, float]] = {}
        self._holdings = holdings
        holdings.follow(self._end_plans)

    def choose(self, claim: str, wanted: Sequence[tuple[str, Gpu]]) -> list[str]:
        """Return a function for each (CDI device, GPU); StepFailed when a GPU has none left."""
        chosen: list[str] = []
        for name, gpu in wanted:
            function = self._given(claim, name, gpu) or self._first(claim, gpu, chosen)
            self._planned[function] = (claim, self._clock.now())
            chosen.append(function)
        return chosen

    def _end_plans(self, entries: Iterable[Entry]) -> None:
        steps = (step for entry in entries for step in entry.steps if step.tool == vgpu_type.TOOL)
        for function in {str(step.arguments["function"]) for step in steps}:
            self._planned.pop(function, None)

    def _given(self, claim: str, name: str, gpu: Gpu) -> str | None:
        """Return the function that the claim's CDI device has already, by its nodes."""
        nodes = self._nodes_of(claim, name)
        functions = virtual_functions(self._host, gpu.pci_bus_id) if nodes else ()
        return next((each for each in functions if nodes & self._nodes(each)), None)

    def _nodes(self, function: str) -> set[str]:
        group = self._host.read_link(PCI_DEVICES / function / "iommu_group") or ""
        names = self._host.entries(PCI_DEVICES / function / "vfio-dev")
        return {f"/dev/vfio/{PurePosixPath(group).name}", *(f"/dev/vfio/devices/{name}" for name in names)}

    def _first(self, claim: str, gpu: Gpu, chosen: Sequence[str]) -> str:
        own = set(self._held_by(claim))
        taken = {*chosen, *self._held_by_others(claim), *self._planned_for_others(claim)}
        for function in virtual_functions(self._host, gpu.pci_bus_id):
            if function not in taken and (function in own or not vgpu_type_on(self._host, function)):
                return function
        raise StepFailed(
            f"{gpu.device_name} ({gpu.pci_bus_id}) has no free virtual function for another vGPU; "
            "the kubelet tries again"
        )

    def _held_by(self, claim: str) -> Iterator[str]:
        yield from (function for uid, function in self._held() if uid == claim)

    def _held_by_others(self, claim: str) -> Iterator[str]:
        yield from (function for uid, function in self._held() if uid != claim)

    def _planned_for_others(self, claim: str) -> Iterator[str]:
        late = self._clock.now() - _PLANNED_SECONDS
        self._planned = {name: plan for name, plan in self._planned.items() if plan[1] > late}
        yield from (name for name, (uid, _) in self._planned.items() if uid != claim)

    def _held(self) -> Iterator[tuple[str, str]]:
        for uid, step in self._holdings.steps(vgpu_type.TOOL):
            yield uid, str(step.arguments["function"])
