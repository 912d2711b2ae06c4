"""From an allocated claim to the entry that the machine carries out: devices, configs, steps."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

from claimwright.dra.cdi import CdiError, qualified_name, spec_path
from claimwright.dra.claims import Claim, DeviceResult
from claimwright.driver.entries import Entry, HeldDevice
from claimwright.driver.errors import ClaimRefused
from claimwright.driver.feature_gates import FeatureGates
from claimwright.driver.inventory import Gpu, Inventory
from claimwright.driver.recipes import full
from claimwright.driver.recipes.claim_spec import KIND, cdi_name, claim_spec
from claimwright.driver.resident_memory import give_back
from claimwright.driver.steps import Step

if TYPE_CHECKING:
    from claimwright.driver.configs import GpuConfig


class Planner:
    """Knows the devices of this node; plans without touching anything."""

    def __init__(self, driver: str, pool: str, inventory: Inventory, gates: FeatureGates) -> None:
        self.driver = driver
        self.pool = pool
        self.gates = gates
        self.gpus: Mapping[str, Gpu] = {gpu.device_name: gpu for gpu in inventory.gpus}

    def plan(self, claim: Claim) -> Entry:
        """Return what preparing `claim` means here; ClaimRefused names the device or config at fault."""
        _check_uid(claim.uid)
        results = claim.results_of(self.driver)
        gpus = [self._gpu(result) for result in results]
        configs = _configs(claim, self.driver, self.gates)
        chosen = list(zip(results, gpus, configs, strict=True))
        if not chosen:
            raise ClaimRefused(f"no device of driver {self.driver} is allocated to this claim")
        return Entry(
            claim=claim.reference,
            devices=tuple(_held(claim.uid, result, gpu) for result, gpu, _ in chosen),
            steps=tuple(_steps(claim.uid, chosen)),
        )

    def _gpu(self, result: DeviceResult) -> Gpu:
        gpu = self.gpus.get(result.device)
        if gpu is None:
            raise ClaimRefused(
                f"allocatable not found for device {result.device!r} (request {result.request}): "
                f"this node has {', '.join(self.gpus) or 'no devices'}"
            )
        if result.pool != self.pool:
            raise ClaimRefused(
                f"device {result.device} (request {result.request}) is of pool {result.pool!r}, "
                f"but this node's pool is {self.pool!r}"
            )
        return gpu


def _check_uid(uid: str) -> None:
    """Refuse a uid that could leave the CDI folder: it becomes part of a file name."""
    try:
        spec_path(Path(), KIND, transient_id=uid)
    except CdiError as error:
        raise ClaimRefused(f"claim uid: {error}") from error


def _configs(claim: Claim, driver: str, gates: FeatureGates) -> Sequence[GpuConfig | None]:
    """Return the config of each result; None changes nothing."""
    results = claim.results_of(driver)
    if not claim.configs_of(driver):
        return [None] * len(results)
    configs = _load_configs()
    offered = configs.offered_by(claim, driver)
    return [configs.config_for(result, configs.GpuConfig, offered, gates) for result in results]


@functools.cache
def _load_configs() -> ModuleType:
    """Load pydantic and the models when the first claim needs them, and return what loading left over."""
    from claimwright.driver import configs  # noqa: PLC0415  see there: most nodes never see a config

    give_back()
    return configs


def _held(uid: str, result: DeviceResult, gpu: Gpu) -> HeldDevice:
    return HeldDevice(
        request=result.base_request,
        pool=result.pool,
        device=result.device,
        hardware=gpu.uuid,
        cdi_ids=(qualified_name(KIND, cdi_name(uid, result.device, result.share_id)),),
        kind=full.TYPE,
        admin_access=result.admin_access,
        share_id=result.share_id,
    )


def _steps(uid: str, chosen: list[tuple[DeviceResult, Gpu, GpuConfig | None]]) -> Iterator[Step]:
    """Yield settings of the hardware first; the spec that lets containers in comes last."""
    settings = [step for _, gpu, config in chosen for step in full.prepare(gpu, config)]
    yield from {str(step): step for step in settings}.values()
    names = {cdi_name(uid, result.device, result.share_id): result.device for result, _, _ in chosen}
    yield claim_spec(uid, names.items())
