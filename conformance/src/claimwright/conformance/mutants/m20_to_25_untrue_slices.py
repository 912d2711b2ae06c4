"""20, 22, 24, 25: slices that are incomplete, of changing type, restless, or that offer a device twice."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import replace
from itertools import count
from typing import Any

from claimwright.conformance.mutants.mutation import Devices, Mutant, Mutation
from claimwright.dra.kube import RESOURCE_SLICES, Kube, Resource
from claimwright.dra.plugin import Plugin
from claimwright.dra.slices import Pool

RESTLESS_SECONDS = 0.3


class _Miscounts(Kube):
    """Writes a wrong resourceSliceCount and reads it back as if it were right."""

    def create(
        self,
        resource: Resource,
        body: Mapping[str, Any],
        *,
        namespace: str | None = None,
        dry_run: bool = False,
    ) -> dict[str, Any]:
        """Add one to the count of a slice."""
        wrong = _count(body, +1) if resource is RESOURCE_SLICES else body
        return _back(resource, super().create(resource, wrong, namespace=namespace, dry_run=dry_run))


def _count(body: Mapping[str, Any], change: int) -> dict[str, Any]:
    pool = body["spec"]["pool"]
    counted = {**pool, "resourceSliceCount": pool["resourceSliceCount"] + change}
    return {**body, "spec": {**body["spec"], "pool": counted}}


def _back(resource: Resource, body: dict[str, Any]) -> dict[str, Any]:
    return _count(body, -1) if resource is RESOURCE_SLICES else body


def _mixed_types(devices: Devices) -> Devices:
    first, *others = devices
    return (replace(first, attributes={**first.attributes, "driverVersion": "one"}), *others)


def _twice(devices: Devices) -> Devices:
    return (*devices, replace(devices[0], name="example-again"))


async def _restless(plugin: Plugin, pool: Pool) -> None:
    for number in count():
        await asyncio.sleep(RESTLESS_SECONDS)
        devices = tuple(replace(one, attributes={**one.attributes, "beat": number}) for one in pool.devices)
        plugin.publisher.update(replace(pool, devices=devices))


MUTANTS = (
    Mutant("20", "publishes a pool that never becomes complete", Mutation(kube=_Miscounts)),
    Mutant("22", "gives an attribute two types", Mutation(devices=_mixed_types)),
    Mutant("24", "writes its slices without a reason", Mutation(meanwhile=_restless)),
    Mutant("25", "publishes one physical device twice", Mutation(devices=_twice)),
)
