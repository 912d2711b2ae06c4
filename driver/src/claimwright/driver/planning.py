"""From an allocated claim to the entry that the machine carries out: devices, configs, steps."""

from __future__ import annotations

import difflib
import functools
import itertools
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from types import ModuleType
from typing import TYPE_CHECKING, Final

from claimwright.dra.cdi import qualified_name
from claimwright.dra.claims import Claim, ClaimUid, DeviceResult
from claimwright.driver.entries import Entry, HeldDevice
from claimwright.driver.errors import ClaimRefused
from claimwright.driver.fabric_joining import fabric_steps
from claimwright.driver.feature_gates import FeatureGates
from claimwright.driver.quoting import shown
from claimwright.driver.recipes.recipe import AnyOffer, AnyRecipe, AnyWanted, Given, Preparation, Wanted
from claimwright.driver.resident_memory import give_back
from claimwright.driver.steps import Step
from claimwright.driver.stock import Stock
from claimwright.driver.tools.claim_spec import KIND, cdi_name, check_uid, claim_spec

if TYPE_CHECKING:
    from claimwright.driver.configs import Config


# resource.k8s.io: names of devices are DNS labels.
_LONGEST_NAME: Final = 63


@dataclass
class Group:
    """Results of one claim that one recipe prepares with one config; `looks` when it has only admin access.

    What is looked at is somebody else's, or nobody's: containers get in, and nothing is done to it.
    """

    recipe: AnyRecipe
    config: Config | None
    wanted: list[AnyWanted]
    looks: bool = False

    def prepare(self, claim: ClaimUid) -> Preparation:
        """Plan it."""
        planned = self.recipe.prepare(claim, self.wanted, self.config)
        return replace(planned, steps=()) if self.looks else planned


class Planner:
    """Plans claims on what the node has in stock; touches nothing."""

    def __init__(self, driver: str, pool: str, stock: Stock, gates: FeatureGates) -> None:
        self.driver = driver
        self.pool = pool
        self.stock = stock
        self.gates = gates

    def plan(self, claim: Claim) -> Entry:
        """Return what preparing `claim` means here; ClaimRefused names the device or config at fault."""
        check_uid(claim.uid)
        results = claim.results_of(self.driver)
        if not results:
            raise ClaimRefused(f"no device of driver {self.driver} is allocated to this claim")
        wanted = [
            Wanted(result, self._offer(result), cdi_name(claim.uid, result.device, result.share_id))
            for result in results
        ]
        groups = _grouped(wanted, _configs(claim, self.driver, wanted, self.gates))
        prepared = [(group, group.prepare(claim.uid)) for group in groups]
        return Entry(
            claim=claim.reference,
            devices=_agreed(_held(results, prepared)),
            steps=(*fabric_steps(wanted, self.stock.inventory), *_steps(claim.uid, prepared)),
        )

    def _offer(self, result: DeviceResult) -> AnyOffer:
        offer = self.stock.offers.get(result.device)
        if offer is None:
            raise ClaimRefused(
                f"allocatable not found for device {shown(result.device)} (request {shown(result.request)}): "
                f"this node has {_like(result.device, self.stock.offers)}"
            )
        if result.pool != self.pool:
            raise ClaimRefused(
                f"device {result.device} (request {shown(result.request)}) is of pool {shown(result.pool)}, "
                f"but this node's pool is {self.pool!r}"
            )
        return offer


def _like(device: str, offered: Collection[str]) -> str:
    """Say what a node has instead of a device: names like it, as all of them are too many for an event."""
    if not offered:
        return "no devices"
    alike = difflib.get_close_matches(device[:_LONGEST_NAME], offered, n=4, cutoff=0.4)
    return f"{len(offered)} others, {'such as ' + ', '.join(alike) if alike else 'none of such a name'}"


def _configs(
    claim: Claim, driver: str, wanted: Sequence[AnyWanted], gates: FeatureGates
) -> Sequence[Config | None]:
    """Return the config of each wanted device; None changes nothing, as with admin access."""
    if not claim.configs_of(driver):
        return [None] * len(wanted)
    configs = _load_configs()
    offered = configs.offered_by(claim, driver)
    return [
        None
        if each.result.admin_access
        else configs.config_for(each.result, configs.KINDS[each.offer.recipe.config], offered, gates)
        for each in wanted
    ]


@functools.cache
def _load_configs() -> ModuleType:
    """Load pydantic and the models when the first claim needs them, and return what loading left over."""
    from claimwright.driver import configs  # noqa: PLC0415  see there: most nodes never see a config

    give_back()
    return configs


def _grouped(wanted: Iterable[AnyWanted], configs: Iterable[Config | None]) -> list[Group]:
    """Gather what shares recipe and config; limits of MPS, for example, are for all GPUs of one config."""
    groups: dict[tuple[int, int, bool], Group] = {}
    for each, config in zip(wanted, configs, strict=True):
        recipe = each.offer.recipe
        looks = each.result.admin_access
        group = groups.setdefault((id(recipe), id(config), looks), Group(recipe, config, [], looks))
        group.wanted.append(each)
    return list(groups.values())


_Prepared = Sequence[tuple[Group, Preparation]]


def _each(prepared: _Prepared) -> Iterator[tuple[AnyWanted, Given]]:
    for group, preparation in prepared:
        yield from zip(group.wanted, preparation.given, strict=True)


def _held(results: Sequence[DeviceResult], prepared: _Prepared) -> tuple[HeldDevice, ...]:
    """Return the devices in the allocation's order, which the kubelet's reply keeps."""
    held = {
        id(wanted.result): _hold(wanted, given, "" if group.config is None else group.config.spelled())
        for group, preparation in prepared
        for wanted, given in zip(group.wanted, preparation.given, strict=True)
    }
    return tuple(held[id(result)] for result in results)


def _agreed(devices: tuple[HeldDevice, ...]) -> tuple[HeldDevice, ...]:
    """Refuse two configs for shares of one device within the claim."""
    for one, other in itertools.combinations(devices, 2):
        if one.shares_with(other) and one.config != other.config:
            raise ClaimRefused(
                f"device {one.device} is shared by requests {one.request} and {other.request} with different "
                f"configs: {one.config or 'none'} and {other.config or 'none'}; shares of one device need one"
            )
    return devices


def _hold(wanted: AnyWanted, given: Given, config: str) -> HeldDevice:
    result, offer = wanted.result, wanted.offer
    return HeldDevice(
        request=result.base_request,
        pool=result.pool,
        device=result.device,
        hardware=offer.hardware,
        cdi_ids=(qualified_name(KIND, wanted.cdi_name),),
        kind=offer.recipe.type,
        admin_access=result.admin_access,
        share_id=result.share_id,
        parts=offer.parts,
        metadata=given.metadata,
        config=config,
    )


def _steps(uid: ClaimUid, prepared: _Prepared) -> Iterator[Step]:
    """Yield settings of the hardware first; the spec that lets containers in comes last."""
    settings = [step for _, preparation in prepared for step in preparation.steps]
    yield from {str(step): step for step in settings}.values()
    edits = [call for _, preparation in prepared for call in preparation.edits]
    devices = {wanted.cdi_name: given.edits for wanted, given in _each(prepared)}
    yield claim_spec(uid, devices.items(), list({str(call): call for call in edits}.values()))
