"""What every recipe is: the same verbs for every kind of device."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, Protocol, TypeVar, runtime_checkable

from claimwright.dra.claims import ClaimUid, DeviceResult
from claimwright.dra.slices import Attribute, Device
from claimwright.driver.edits import EditCall
from claimwright.driver.inventory import Inventory, LeftOut
from claimwright.driver.steps import Step

Source = TypeVar("Source")
Config_contra = TypeVar("Config_contra", contravariant=True)


@dataclass(frozen=True)
class Offer(Generic[Source]):
    """One device of this node: what is published of it, and what it is made of.

    `hardware` names the GPU by its PCI address, which it keeps under every kernel driver: it is what is locked
    and counted. `parts` are the pieces of it that the device takes, in words of the recipes; none means all.
    `source` is what the recipe found and needs again when it prepares. `on_demand` devices do not exist yet, and
    only shared counters tell the scheduler which of them can: without counters they are not published.
    """

    device: Device
    recipe: Recipe[Source, Any]
    hardware: str
    source: Source
    parts: frozenset[str] = frozenset()
    on_demand: bool = False

    @property
    def name(self) -> str:
        """The device's name in its ResourceSlice."""
        return self.device.name


@dataclass(frozen=True)
class Wanted(Generic[Source]):
    """One result of a claim, and the device that it names; `cdi_name` is what its CDI device will be called."""

    result: DeviceResult
    offer: Offer[Source]
    cdi_name: str


@dataclass(frozen=True)
class Given:
    """What one wanted device comes with: edits of its CDI device, and attributes for its metadata file."""

    edits: tuple[EditCall, ...] = ()
    metadata: Mapping[str, Attribute] = field(default_factory=dict)


@dataclass(frozen=True)
class Preparation:
    """What preparing a group of devices takes: steps in order, and what containers get.

    `given` holds one item per wanted device; `edits` are for every container that uses any of the claim.
    """

    given: tuple[Given, ...]
    steps: tuple[Step, ...] = ()
    edits: tuple[EditCall, ...] = ()


class Recipe(Protocol[Source, Config_contra]):
    """One kind of device."""

    # The attribute `type` of its devices, and the kind of opaque config that they take.
    type: str
    config: str

    def discover(self, inventory: Inventory) -> Iterable[Offer[Source]]:
        """Return what the node offers of this kind now, best first, in an order that does not change."""
        ...

    def prepare(
        self, claim: ClaimUid, group: Sequence[Wanted[Source]], config: Config_contra | None
    ) -> Preparation:
        """Plan the results of one claim that share one config; ClaimRefused when it cannot be applied."""
        ...


@runtime_checkable
class Withholding(Protocol):
    """A recipe that can say why it does not offer what people may look for."""

    def withheld(self, inventory: Inventory) -> Iterable[LeftOut]:
        """Return what is not offered, and why."""
        ...


AnyRecipe = Recipe[Any, Any]
AnyOffer = Offer[Any]
AnyWanted = Wanted[Any]
