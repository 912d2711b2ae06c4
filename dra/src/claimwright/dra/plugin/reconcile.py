"""Which writes bring the stored slices of a pool to what they should be; pure.

Consumers use the slices of the highest generation only, and only when all `resourceSliceCount` of them are
there. So a change that one write can make keeps the generation; a change that needs several writes makes a
new one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from claimwright.dra.slices.comparison import keep_times_added, normal
from claimwright.dra.slices.planning import NodeOwner, Pool, index_of, plan_slices

SliceObject: TypeAlias = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Create:
    """Create this slice."""

    slice: SliceObject


@dataclass(frozen=True, slots=True)
class Replace:
    """Write this slice over the stored one that it names."""

    slice: SliceObject


@dataclass(frozen=True, slots=True)
class Delete:
    """Delete this stored slice."""

    slice: SliceObject


Change: TypeAlias = Create | Replace | Delete
# (wanted spec, stored spec): whether the stored one is the best that the server can do
Accepts: TypeAlias = Callable[[Mapping[str, Any], Mapping[str, Any]], bool]


def never_accepts(_wanted: Mapping[str, Any], _stored: Mapping[str, Any]) -> bool:
    """Accept no difference."""
    return False


def changes(
    driver: str,
    pool: Pool,
    stored: Sequence[SliceObject],
    owner: NodeOwner | None,
    *,
    least_generation: int = 1,
    accepts: Accepts = never_accepts,
) -> list[Change]:
    """Give the writes, in order, that turn `stored` (all slices of this pool) into `pool`; none if it is so.

    `least_generation` is the highest that was ever published: slices that others delete come back with it.
    """
    paired, surplus = _pairs(stored)
    generation = max([least_generation, *(_generation(item) for item in paired.values())])
    plan = plan_slices(driver, pool, generation, owner)
    surplus += [item for index, item in paired.items() if index >= len(plan)]
    replaced = [index for index, wanted in enumerate(plan) if _differs(wanted, paired.get(index), accepts)]
    missing = [index for index in range(len(plan)) if index not in paired]
    # Slices that only have to be added next to right ones form no mixture on the way; all else does.
    mixes = bool(replaced) or bool(missing and surplus)
    if mixes and len(replaced) + len(missing) + len(surplus) > 1:
        plan = plan_slices(driver, pool, generation + 1, owner)
        replaced = [index for index in range(len(plan)) if index in paired]
    else:
        replaced += [
            index for index, wanted in enumerate(plan) if _unowned(wanted, paired.get(index), replaced, index)
        ]
    return [
        *(Replace(_over(plan[index], paired[index])) for index in replaced),
        *(Create(plan[index]) for index in missing),
        *(Delete(item) for item in surplus),
    ]


def _pairs(stored: Sequence[SliceObject]) -> tuple[dict[int, SliceObject], list[SliceObject]]:
    """Give the stored slice for each index, the newest generation first, and those that have no place."""
    paired: dict[int, SliceObject] = {}
    surplus = []
    for item in sorted(stored, key=lambda item: (-_generation(item), item["metadata"]["name"])):
        index = index_of(item["metadata"]["name"])
        if index is None or index in paired:
            surplus.append(item)
        else:
            paired[index] = item
    return paired, surplus


def _differs(wanted: SliceObject, stored: SliceObject | None, accepts: Accepts) -> bool:
    if stored is None:
        return False
    full = keep_times_added(wanted["spec"], stored["spec"])
    return normal(full) != normal(stored["spec"]) and not accepts(wanted["spec"], stored["spec"])


def _unowned(wanted: SliceObject, stored: SliceObject | None, replaced: Sequence[int], index: int) -> bool:
    if stored is None or index in replaced:
        return False
    owners = wanted["metadata"].get("ownerReferences", [])
    known = [
        {key: value for key, value in reference.items() if key != "blockOwnerDeletion"}
        for reference in stored["metadata"].get("ownerReferences", [])
    ]
    return any(reference not in known for reference in owners)


def _over(wanted: SliceObject, stored: SliceObject) -> SliceObject:
    metadata = {**stored["metadata"], "ownerReferences": wanted["metadata"].get("ownerReferences", [])}
    return {**wanted, "metadata": metadata, "spec": keep_times_added(wanted["spec"], stored["spec"])}


def _generation(item: SliceObject) -> int:
    return int(item["spec"]["pool"].get("generation") or 0)
