"""Partitions: what is offered of a GPU, what excludes what, and what becomes of other people's partitions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from claimwright.dra.slices import Device, plan_slices
from claimwright.driver.errors import StepFailed, StepRefused
from claimwright.driver.feature_gates import FeatureGates
from claimwright.driver.inventory import discover
from claimwright.driver.ports import ComputeInstance, MigReading, Partition, Placement
from claimwright.driver.publishing import pool_of
from claimwright.driver.repertoire import recipes
from claimwright.driver.steps import Probe
from claimwright.driver.stock import Stock
from claimwright.driver.testing import MemoryNvml, MemoryPartitions, gpu_reading, h100_profiles, hgx_h100_host
from claimwright.driver.tools.mig_mode import MigModeTool, mig_mode
from claimwright.driver.tools.mig_partition import MigPartitionTool, mig_partition

DYNAMIC, STATIC = "DynamicMIG=true", ""
GPU = gpu_reading(0).uuid
FOREIGN = Partition(7, 9, Placement(4, 4), (ComputeInstance(0, "MIG-0001"),))


def mig(*, enabled: bool = False, partitions: Sequence[Partition] = ()) -> MigReading:
    return MigReading(enabled, enabled, h100_profiles(), tuple(partitions))


def stock(gates: str, **reading: Any) -> Stock:
    nvml = MemoryNvml([gpu_reading(0, **reading)])
    return Stock(recipes(FeatureGates.parse(gates)), discover(nvml, hgx_h100_host()))


def offered(gates: str, **reading: Any) -> dict[str, Device]:
    return {name: offer.device for name, offer in stock(gates, **reading).offers.items()}


@pytest.mark.parametrize(
    ("gates", "reading", "whole", "partitions"),
    [
        (STATIC, {"mig": None}, True, 0),
        (STATIC, {"mig": mig()}, True, 0),
        (STATIC, {"mig": mig(enabled=True)}, False, 0),
        (STATIC, {"mig": mig(enabled=True, partitions=[FOREIGN])}, False, 1),
        (DYNAMIC, {"mig": None}, True, 0),
        (DYNAMIC, {"mig": mig()}, True, 18),
        (DYNAMIC, {"mig": mig(enabled=True)}, True, 18),
        (DYNAMIC, {"mig": mig(enabled=True, partitions=[FOREIGN])}, False, 11),
        (DYNAMIC, {"mig": mig(), "architecture": 7}, True, 0),
        (DYNAMIC, {"mig": mig(enabled=True), "architecture": 7}, False, 18),
    ],
    ids=[
        "no MIG",
        "mode off",
        "mode on",
        "mode on and cut",
        "dynamic, no MIG",
        "dynamic, mode off",
        "dynamic, mode on",
        "dynamic, cut by somebody else",
        "dynamic, Ampere, mode off",
        "dynamic, Ampere, mode on",
    ],
)
def test_what_a_gpu_offers_follows_from_its_mode_and_its_partitions(
    gates: str, reading: dict[str, Any], whole: bool, partitions: int
) -> None:
    devices = offered(gates, **reading)

    assert ("gpu-0" in devices) is whole
    assert len([name for name in devices if name != "gpu-0"]) == partitions


def test_the_names_are_those_that_the_community_driver_reads_back() -> None:
    devices = offered(DYNAMIC, mig=mig())

    assert "gpu-0-mig-1g10gb-19-6" in devices
    assert devices["gpu-0-mig-1g10gb-19-6"].attributes["profile"] == "1g.10gb"


def test_a_partition_that_exists_says_its_uuid_and_slices() -> None:
    device = offered(STATIC, mig=mig(enabled=True, partitions=[FOREIGN]))["gpu-0-mig-3g40gb-9-4"]

    assert device.attributes["uuid"] == "MIG-0001"
    assert {name for name in device.capacity if name.startswith("memorySlice")} == {
        f"memorySlice{number}" for number in (4, 5, 6, 7)
    }
    assert device.consumes_counters == ()


def test_no_place_of_somebody_elses_partition_is_offered() -> None:
    devices = offered(DYNAMIC, mig=mig(enabled=True, partitions=[FOREIGN]))

    takers = [
        name for name, device in devices.items() if "memory-slice-5" in device.consumes_counters[0].counters
    ]
    assert takers == ["gpu-0-mig-3g40gb-9-4"]


def test_the_pool_fits_into_slices_of_the_api() -> None:
    slices = plan_slices("gpu.nvidia.com", pool_of("node-a", stock(DYNAMIC, mig=mig())), 1)

    assert "sharedCounters" in slices[0]["spec"]
    assert sum(len(found["spec"].get("devices", ())) for found in slices) == 19


@given(st.lists(st.integers(0, 18), unique=True, max_size=8))
def test_what_the_counters_allow_together_never_shares_a_memory_slice(chosen: list[int]) -> None:
    found = stock(DYNAMIC, mig=mig())
    offers = list(found.offers.values())
    (counter_set,) = found.counter_sets()
    left = {name: amount.value for name, amount in counter_set.counters.items()}
    taken: list[frozenset[str]] = []
    for number in chosen:
        offer = offers[number]
        needs = {name: amount.value for name, amount in offer.device.consumes_counters[0].counters.items()}
        if any(left[name] < amount for name, amount in needs.items()):
            continue
        left = {name: amount - needs.get(name, 0) for name, amount in left.items()}
        assert offer.parts or not taken, "a whole GPU beside parts of it"
        assert all(offer.parts.isdisjoint(other) and other for other in taken)
        taken.append(offer.parts)


def test_the_mode_goes_off_with_the_last_partition_whoever_made_it() -> None:
    partitions = MemoryPartitions({GPU: mig(partitions=[FOREIGN])})
    tool, step = MigModeTool(partitions), mig_mode(GPU, enabled=True)

    tool.do(step)
    tool.undo(step)
    assert tool.probe(step) is Probe.DONE

    partitions.destroy(GPU, FOREIGN.gpu_instance)
    tool.undo(step)
    assert tool.probe(step) is Probe.NOT_DONE


def test_a_partition_is_made_found_and_removed() -> None:
    tool = MigPartitionTool(MemoryPartitions({GPU: mig(enabled=True)}))
    step = mig_partition(GPU, 19, Placement(2, 1))

    seen = [tool.probe(step)]
    tool.do(step)
    seen.append(tool.probe(step))
    tool.undo(step)
    tool.undo(step)

    assert seen == [Probe.NOT_DONE, Probe.DONE]
    assert tool.probe(step) is Probe.NOT_DONE


def test_somebody_elses_partition_in_the_place_is_neither_taken_nor_removed() -> None:
    partitions = MemoryPartitions({GPU: mig(enabled=True, partitions=[FOREIGN])})
    tool, step = MigPartitionTool(partitions), mig_partition(GPU, 19, Placement(5, 1))

    with pytest.raises(StepRefused, match="GPU instance 7"):
        tool.do(step)
    with pytest.raises(StepFailed, match="another shape"):
        tool.undo(step)

    reading = partitions.read(GPU)
    assert reading is not None
    assert reading.partitions == (FOREIGN,)


def test_half_a_partition_is_undone_but_never_taken_for_whole() -> None:
    half = Partition(3, 19, Placement(2, 1))
    tool = MigPartitionTool(MemoryPartitions({GPU: mig(enabled=True, partitions=[half])}))
    step = mig_partition(GPU, 19, Placement(2, 1))

    before = tool.probe(step)
    tool.undo(step)

    assert before is Probe.NOT_VISIBLE
    assert tool.probe(step) is Probe.NOT_DONE


def test_a_partition_in_use_is_tried_again_later() -> None:
    partitions = MemoryPartitions({GPU: mig(enabled=True)})
    tool, step = MigPartitionTool(partitions), mig_partition(GPU, 19, Placement(2, 1))
    tool.do(step)
    partitions.busy.add(GPU)

    with pytest.raises(StepFailed, match="In use by another client"):
        tool.undo(step)
    assert tool.probe(step) is Probe.DONE
