"""How a soak judges: what may be held at once, and whether memory grows."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from claimwright.dra.quantities import Quantity
from claimwright.dra.slices import Capacity, CounterConsumption, CounterSet, Device
from claimwright.e2e.soak import Findings, handed, room_for, slope_of

BUS = "resource.kubernetes.io/pciBusID"
ONE = Quantity.parse("1")
SETS = {"s": CounterSet("s", {"memory-slice-0": ONE, "memory-slice-1": ONE, "engines": Quantity.parse("3")})}


def device(name: str, *counters: str, bus: str = "a", engines: int = 0, shares: int = 0) -> Device:
    amounts = {
        **dict.fromkeys(counters, ONE),
        **({"engines": Quantity.parse(str(engines))} if engines else {}),
    }
    return Device(
        name,
        {BUS: bus},
        {"vgpus": Capacity(Quantity.parse(str(shares)))} if shares else {},
        consumes_counters=(CounterConsumption("s", amounts),) if amounts else (),
        allow_multiple_allocations=bool(shares),
    )


@pytest.mark.parametrize(
    ("wanted", "held", "fits"),
    [
        (device("a"), [], True),
        (device("a"), [device("a")], False),
        (device("a"), [device("b")], False),
        (device("a"), [device("b", bus="b")], True),
        (device("a", "memory-slice-0"), [device("b", "memory-slice-1")], True),
        (device("a", "memory-slice-0"), [device("b", "memory-slice-0", "memory-slice-1")], False),
        (device("a", "memory-slice-0", engines=2), [device("b", "memory-slice-1", engines=2)], False),
        (device("a", shares=2), [device("a", shares=2)], True),
        (device("a", shares=2), [device("a", shares=2)] * 2, False),
        (device("a", "engines", engines=3, shares=2), [device("a", "engines", engines=3, shares=2)], True),
    ],
)
def test_what_is_published_tells_what_may_be_held_at_once(
    wanted: Device, held: list[Device], fits: bool
) -> None:
    assert (room_for(wanted, held, SETS) == "") is fits


@pytest.mark.parametrize(
    ("one", "other", "shared"),
    [
        ({"/dev/nvidia0", "/dev/nvidiactl"}, {"/dev/nvidia1", "/dev/nvidiactl"}, set()),
        ({"/dev/nvidia0"}, {"/dev/nvidia0"}, {"/dev/nvidia0"}),
        ({"/dev/nvidia0", "/dev/nvidia-caps/nvidia-cap3"}, {"/dev/nvidia0"}, {"/dev/nvidia0"}),
        (
            {"/dev/nvidia0", "/dev/nvidia-caps/nvidia-cap3"},
            {"/dev/nvidia0", "/dev/nvidia-caps/nvidia-cap4"},
            set(),
        ),
        (
            {"/dev/nvidia0", "/dev/nvidia-caps/nvidia-cap3"},
            {"/dev/nvidia0", "/dev/nvidia-caps/nvidia-cap3"},
            {"/dev/nvidia-caps/nvidia-cap3"},
        ),
        ({"/dev/vfio/7", "/dev/vfio/vfio"}, {"/dev/vfio/7", "/dev/vfio/vfio"}, {"/dev/vfio/7"}),
        ({"/dev/vfio/7", "/dev/vfio/vfio"}, {"/dev/vfio/8", "/dev/vfio/vfio"}, set()),
    ],
)
def test_containers_of_two_claims_share_no_device_but_a_gpu_of_which_both_have_a_part(
    one: set[str], other: set[str], shared: set[str]
) -> None:
    assert handed(one).overlaps(handed(other)) == handed(other).overlaps(handed(one)) == shared


def life(cycles: int, *, grows_by: float = 0.0, seed: int = 0) -> list[tuple[int, int]]:
    """Warm-up of 10 MB, noise that lasts for hundreds of cycles, and growth in kB a cycle."""
    chance = random.Random(seed)
    noise, samples = 0.0, []
    for age in range(cycles):
        noise = 0.99 * noise + chance.gauss(0, 20e3)
        warm = 10e6 * min(1, age / (cycles / 4))
        samples.append((age, int(60e6 + warm + noise + 1e3 * grows_by * age)))
    return samples


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 1000))
def test_a_process_that_only_warms_up_and_breathes_does_not_grow(seed: int) -> None:
    slope = slope_of(life(4000, seed=seed))

    assert slope is not None
    assert slope.judged
    assert not slope.grows


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 1000))
def test_a_process_that_leaks_half_a_kilobyte_a_cycle_fails_the_soak(seed: int) -> None:
    slope = slope_of(life(8000, grows_by=0.5, seed=seed))

    assert slope is not None
    assert slope.grows
    assert not Findings(memory=slope).clean


def test_the_longest_life_is_judged_and_a_short_one_is_not() -> None:
    slope = slope_of([*life(300), *life(900, grows_by=5), *life(200)])

    assert slope is not None
    assert slope.cycles == 899
    assert slope.kilobytes_per_cycle > 4
    assert not slope.grows
    assert slope.as_object()["verdict"] == "too short a life to tell"
    assert slope_of(life(20)) is None
