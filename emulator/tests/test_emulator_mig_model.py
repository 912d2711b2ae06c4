"""MIG: profile tables, the driver's choices, the mode, and that accounts balance after any history."""

from __future__ import annotations

import random
import re
from itertools import combinations
from typing import Any

import pytest

from claimwright.emulator.errors import ProfileError
from claimwright.emulator.model import (
    Board,
    GpuState,
    NodeModel,
    OperationRefused,
    Refusal,
    board_names,
    build_node,
    load_board,
    load_node_profile,
    parse_profile,
)
from claimwright.emulator.model.mig import Placement, compute_profile_name, profile_name
from claimwright.emulator.model.mig.room import room_on
from claimwright.emulator.model.operations import bus, faults, gpus, mig
from claimwright.emulator.model.operations.mig import MigModeSet

GIB = 1 << 30
MIG_BOARDS = [name for name in board_names() if load_board(name).mig is not None]


def one_gpu(board: str) -> NodeModel:
    """Put one GPU into a workstation, whose profile gives no NUMA nodes to the memory of coherent boards."""
    plain = load_board(board).model_copy(update={"coherent_memory": False})
    return NodeModel(build_node(load_node_profile("l4"), "node-a", board=lambda _key: plain))


def enabled(board: str) -> NodeModel:
    model = one_gpu(board)
    model.perform(mig.set_mig_mode, 0, enabled=True)
    if not gpu_of(model).mig.current:  # type: ignore[union-attr]
        model.perform(faults.reset_gpu, 0)
    return model


def gpu_of(model: NodeModel) -> GpuState:
    return model.snapshot().gpus[0]


def create(model: NodeModel, *profiles: int) -> list[tuple[int, int]]:
    """Create with the driver's choice of place; return (id, start) of each."""
    made = [model.perform(mig.create_gpu_instance, 0, profile) for profile in profiles]
    return [(each.id, each.placement.start) for each in made]


def refusal(call: Any, *arguments: Any, **named: Any) -> Refusal:
    with pytest.raises(OperationRefused) as refused:
        call(*arguments, **named)
    return refused.value.reason


def remaining(model: NodeModel, profile: int) -> int:
    gpu = gpu_of(model)
    assert gpu.board.mig is not None
    assert gpu.mig is not None
    return room_on(gpu.board, gpu.mig.gpu_instances).remaining(gpu.board.mig.by_id[profile])


# What mig-parted's default configuration and lgip outputs call the profiles (gpu-hardware.md §4).
NAMES = {
    "a30": "1g.6gb 1g.6gb+me 2g.12gb 2g.12gb+me 4g.24gb",
    "a100-sxm4-40": "1g.5gb 1g.5gb+me 1g.10gb 2g.10gb 3g.20gb 4g.20gb 7g.40gb",
    "a100-sxm4-80": "1g.10gb 1g.10gb+me 1g.20gb 2g.20gb 3g.40gb 4g.40gb 7g.80gb",
    "h100-sxm5-80": "1g.10gb 1g.10gb+me 1g.20gb 2g.20gb 3g.40gb 4g.40gb 7g.80gb",
    "h100-nvl": "1g.12gb 1g.12gb+me 1g.24gb 2g.24gb 3g.47gb 4g.47gb 7g.94gb",
    "h200-sxm": "1g.18gb 1g.18gb+me 1g.35gb 2g.35gb 3g.71gb 4g.71gb 7g.141gb",
    "gh200-96": "1g.12gb 1g.12gb+me 1g.24gb 2g.24gb 3g.48gb 4g.48gb 7g.96gb",
    "gh200-144": "1g.18gb 1g.18gb+me 1g.36gb 2g.36gb 3g.72gb 4g.72gb 7g.144gb",
    "b200": "1g.23gb 1g.23gb+me 1g.45gb 2g.45gb 3g.90gb 4g.90gb 7g.180gb",
    "b300": "1g.34gb 1g.34gb+me 1g.67gb 2g.67gb 3g.135gb 4g.135gb 7g.269gb",
    "gb200": "1g.23gb 1g.23gb+me 1g.47gb 2g.47gb 3g.93gb 4g.93gb 7g.186gb",
    "gb300": "1g.35gb 1g.35gb+me 1g.70gb 2g.70gb 3g.139gb 4g.139gb 7g.278gb",
    "rtx-pro-6000-bse": "1g.24gb 1g.24gb+me 1g.24gb+gfx 1g.24gb+me.all 1g.24gb-me "
    "2g.48gb 2g.48gb+gfx 2g.48gb+me.all 2g.48gb-me 4g.96gb 4g.96gb+gfx",
}


@pytest.mark.parametrize("board", NAMES)
def test_profile_names_are_computed_as_consumers_expect_them(board: str) -> None:
    profile = load_board(board)
    assert profile.mig is not None

    assert (
        " ".join(profile_name(each, profile.memory.total_mib) for each in profile.mig.gpu_instances)
        == NAMES[board]
    )


@pytest.mark.capability("000-06")
@pytest.mark.parametrize("board", MIG_BOARDS)
def test_each_profile_alone_can_be_made_as_often_as_it_says_and_no_more(board: str) -> None:
    spec = load_board(board).mig
    assert spec is not None
    for profile in spec.gpu_instances:
        model = enabled(board)
        assert remaining(model, profile.id) == profile.max
        create(model, *[profile.id] * profile.max)
        assert remaining(model, profile.id) == 0
        assert refusal(create, model, profile.id) is Refusal.INSUFFICIENT_RESOURCES


def test_the_first_small_instance_goes_to_slot_6_and_the_next_to_slot_4() -> None:
    assert create(enabled("a100-sxm4-40"), 19, 19) == [(13, 6), (11, 4)]


def test_small_instances_fill_up_around_one_of_two_slices_at_4() -> None:
    model = enabled("a100-sxm4-40")
    model.perform(mig.create_gpu_instance, 0, 14, start=4)

    assert [start for _, start in create(model, 19, 19, 19, 19, 19)] == [6, 0, 1, 2, 3]


def test_instances_of_the_user_guide_get_its_ids_and_places() -> None:
    assert create(enabled("a100-sxm4-40"), 19, 14, 5) == [(13, 6), (5, 4), (1, 0)]


def test_the_order_of_creation_decides_whether_a_layout_fits() -> None:
    greedy = enabled("a100-sxm4-40")
    create(greedy, 19, 19, 14)
    assert refusal(create, greedy, 9) is Refusal.INSUFFICIENT_RESOURCES

    create(enabled("a100-sxm4-40"), 9, 19, 14, 19)


def test_a_half_at_0_leaves_one_half_and_three_small_instances() -> None:
    model = enabled("h100-sxm5-80")
    model.perform(mig.create_gpu_instance, 0, 9, start=0)

    assert (remaining(model, 9), remaining(model, 19)) == (1, 3)


def test_two_halves_fill_the_memory_though_a_compute_slice_is_left() -> None:
    model = enabled("h100-sxm5-80")
    create(model, 9, 9)

    assert refusal(create, model, 19) is Refusal.INSUFFICIENT_RESOURCES


def test_the_first_slot_of_a_four_slice_board_has_id_3() -> None:
    assert create(enabled("a30"), 14) == [(3, 0)]


def test_all_media_engines_in_one_instance_leave_only_instances_without() -> None:
    model = enabled("rtx-pro-6000-bse")
    create(model, 65)

    assert [profile for profile in (14, 21, 47, 67, 5, 35, 66) if remaining(model, profile)] == [67, 66]


def test_the_profile_with_media_engines_excludes_a_second_one() -> None:
    model = enabled("h100-sxm5-80")
    create(model, 20)

    assert refusal(create, model, 20) is Refusal.INSUFFICIENT_RESOURCES
    assert remaining(model, 19) == 6


def test_refusals_name_their_reason() -> None:
    model = enabled("h100-sxm5-80")
    model.perform(mig.create_gpu_instance, 0, 9, start=4)
    place = model.perform

    assert refusal(place, mig.create_gpu_instance, 0, 4) is Refusal.INVALID_ARGUMENT
    assert refusal(place, mig.create_gpu_instance, 0, 9, start=2) is Refusal.INVALID_ARGUMENT
    assert refusal(place, mig.create_gpu_instance, 0, 9, start=4, size=3) is Refusal.INVALID_ARGUMENT
    assert refusal(place, mig.create_gpu_instance, 0, 9, start=4) is Refusal.INSUFFICIENT_RESOURCES
    assert refusal(place, mig.create_gpu_instance, 0, 14, start=4) is Refusal.INSUFFICIENT_RESOURCES
    assert refusal(place, mig.destroy_gpu_instance, 0, 1) is Refusal.NOT_FOUND
    assert refusal(place, mig.create_compute_instance, 0, 1) is Refusal.NOT_FOUND
    assert refusal(place, mig.create_compute_instance, 0, 2, 3) is Refusal.NOT_SUPPORTED
    assert refusal(place, mig.create_compute_instance, 0, 2, 9) is Refusal.INVALID_ARGUMENT
    assert refusal(place, mig.destroy_compute_instance, 0, 2, 0) is Refusal.NOT_FOUND


def test_nothing_can_be_cut_while_the_mode_is_off_or_missing() -> None:
    assert refusal(create, one_gpu("h100-sxm5-80"), 19) is Refusal.NOT_SUPPORTED
    assert refusal(create, one_gpu("l4"), 19) is Refusal.NOT_SUPPORTED
    assert refusal(one_gpu("l4").perform, mig.set_mig_mode, 0, enabled=True) is Refusal.NOT_SUPPORTED


def test_compute_instances_share_a_gpu_instance() -> None:
    model = enabled("h100-sxm5-80")
    model.perform(mig.create_gpu_instance, 0, 9, start=4)
    made = [model.perform(mig.create_compute_instance, 0, 2, 0) for _ in range(3)]

    assert [(each.id, each.placement.start) for each in made] == [(0, 0), (1, 1), (2, 2)]
    assert refusal(model.perform, mig.create_compute_instance, 0, 2, 0) is Refusal.INSUFFICIENT_RESOURCES
    model.perform(mig.destroy_compute_instance, 0, 2, 1)
    assert model.perform(mig.create_compute_instance, 0, 2, 7).id == 1


def test_the_whole_compute_instance_is_named_like_its_gpu_instance() -> None:
    board = load_board("h100-sxm5-80")
    assert board.mig is not None
    half = board.mig.by_id[9]
    names = {
        number: compute_profile_name(compute, half, board.memory.total_mib)
        for number, compute in board.mig.compute(9).items()
    }

    assert names == {0: "1c.3g.40gb", 1: "2c.3g.40gb", 2: "3g.40gb", 7: "1c.3g.40gb"}


@pytest.mark.parametrize(
    ("profile", "most"),
    [
        (19, {0: 1}),
        (14, {0: 2, 1: 1}),
        (9, {0: 3, 1: 1, 2: 1}),
        (5, {0: 4, 1: 2, 3: 1}),
        (0, {0: 7, 1: 3, 2: 2, 3: 1, 4: 1}),
    ],
)
def test_a_gpu_instance_offers_the_compute_profiles_of_its_size(profile: int, most: dict[int, int]) -> None:
    spec = load_board("a100-sxm4-40").mig
    assert spec is not None

    assert {each.id: each.max for each in spec.compute(profile).values() if each.id != 7} == most
    assert spec.compute(profile)[7].max == most[0]


def test_ampere_waits_for_a_reset_and_keeps_the_mode_through_it() -> None:
    model = one_gpu("a100-sxm4-40")

    assert model.perform(mig.set_mig_mode, 0, enabled=True) == MigModeSet(False, True, Refusal.RESET_REQUIRED)
    assert refusal(create, model, 19) is Refusal.NOT_SUPPORTED
    model.perform(faults.reset_gpu, 0)
    create(model, 19)
    gpu = model.perform(faults.reset_gpu, 0)

    assert gpu.mig is not None
    assert (gpu.mig.current, gpu.mig.pending, gpu.mig.gpu_instances) == (True, True, ())


def test_hopper_switches_at_once_and_forgets_the_mode_at_a_reset() -> None:
    model = one_gpu("h100-sxm5-80")

    assert model.perform(mig.set_mig_mode, 0, enabled=True) == MigModeSet(True, True, None)
    create(model, 19)
    gpu = model.perform(faults.reset_gpu, 0)

    assert gpu.mig is not None
    assert (gpu.mig.current, gpu.mig.gpu_instances) == (False, ())


@pytest.mark.parametrize("board", ["a100-sxm4-40", "h100-sxm5-80"])
def test_a_process_keeps_the_mode_from_changing_and_the_gpu_from_a_reset(board: str) -> None:
    model = one_gpu(board)
    model.perform(gpus.start_process, 0, 7, "train", GIB)

    assert model.perform(mig.set_mig_mode, 0, enabled=True) == MigModeSet(False, True, Refusal.IN_USE)
    assert refusal(model.perform, faults.reset_gpu, 0) is Refusal.IN_USE
    assert model.perform(mig.set_mig_mode, 0, enabled=False) == MigModeSet(False, False, None)


def test_hopper_leaves_the_mode_on_while_a_mig_device_lives_and_drops_half_made_ones() -> None:
    model = enabled("h100-sxm5-80")
    create(model, 19, 9)
    model.perform(mig.create_compute_instance, 0, 13)

    assert model.perform(mig.set_mig_mode, 0, enabled=False) == MigModeSet(True, False, Refusal.IN_USE)
    model.perform(mig.destroy_compute_instance, 0, 13, 0)
    assert model.perform(mig.set_mig_mode, 0, enabled=False) == MigModeSet(False, False, None)
    assert gpu_of(model).mig.gpu_instances == ()  # type: ignore[union-attr]


@pytest.mark.capability("003-20")
def test_a_process_lives_in_its_mig_device_and_within_its_memory() -> None:
    model = enabled("h100-sxm5-80")
    create(model, 19, 19)
    for instance in (13, 11):
        model.perform(mig.create_compute_instance, 0, instance)
    start = model.perform

    assert refusal(start, gpus.start_process, 0, 1, "x", GIB) is Refusal.INVALID_ARGUMENT
    named = {"gpu_instance": 13, "compute_instance": 0}
    assert refusal(start, gpus.start_process, 0, 1, "x", 10 * GIB, **named) is Refusal.MEMORY
    start(gpus.start_process, 0, 1, "x", 9 * GIB, gpu_instance=13, compute_instance=0)
    assert refusal(start, gpus.start_process, 0, 2, "x", GIB, **named) is Refusal.MEMORY
    start(gpus.start_process, 0, 2, "x", GIB, gpu_instance=11, compute_instance=0)
    assert (
        refusal(start, gpus.start_process, 0, 3, "x", 1, gpu_instance=7, compute_instance=0)
        is Refusal.NOT_FOUND
    )


def test_instances_in_use_stay() -> None:
    model = enabled("h100-sxm5-80")
    create(model, 19)
    model.perform(mig.create_compute_instance, 0, 13)
    model.perform(gpus.start_process, 0, 1, "x", GIB, gpu_instance=13, compute_instance=0)

    assert refusal(model.perform, mig.destroy_compute_instance, 0, 13, 0) is Refusal.IN_USE
    assert refusal(model.perform, mig.destroy_gpu_instance, 0, 13) is Refusal.IN_USE
    model.perform(gpus.stop_process, 0, 1)
    model.perform(mig.destroy_compute_instance, 0, 13, 0)
    model.perform(mig.destroy_gpu_instance, 0, 13)


@pytest.mark.parametrize("board", ["a100-sxm4-40", "h100-sxm5-80"])
@pytest.mark.parametrize("way", ["unbind", "lose"])
def test_instances_and_their_processes_end_when_the_gpu_goes(way: str, board: str) -> None:
    model = enabled(board)
    create(model, 19)
    model.perform(mig.create_compute_instance, 0, 13)
    model.perform(gpus.start_process, 0, 1, "x", GIB, gpu_instance=13, compute_instance=0)

    address = str(gpu_of(model).pci)
    if way == "unbind":
        model.perform(gpus.stop_process, 0, 1)
        model.perform(bus.unbind, address)
    else:
        model.perform(gpus.lose, 0)
    gpu = gpu_of(model)
    assert gpu.mig is not None
    assert (gpu.mig.gpu_instances, gpu.processes) == ((), ())
    if way == "unbind":
        model.perform(bus.bind, address, "nvidia")
    else:
        model.perform(gpus.recover, 0)
    gpu = gpu_of(model)
    assert gpu.mig is not None
    assert gpu.mig.current == (board == "a100-sxm4-40")


def test_uuids_come_back_with_the_same_layout_and_only_then() -> None:
    model = enabled("h100-sxm5-80")

    def uuid(profile: int, start: int, compute: int | None = None) -> str:
        held = model.perform(mig.create_gpu_instance, 0, profile, start=start)
        made = model.perform(mig.create_compute_instance, 0, held.id, compute)
        model.perform(mig.destroy_compute_instance, 0, held.id, made.id)
        model.perform(mig.destroy_gpu_instance, 0, held.id)
        return made.uuid

    first = uuid(19, 0)
    assert re.fullmatch(r"MIG-[0-9a-f]{8}-[0-9a-f]{4}-5[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}", first)
    assert len({uuid(19, 0), uuid(19, 1), uuid(20, 0), uuid(9, 0), uuid(9, 0, 0)} | {first}) == 5


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("{slices: 2, id: 14", "{slices: 2, id: 19", "id 19 is that of profile 0 too"),
        ('at: "{0,2,4}:2"', 'at: "{0,2,4,8}:2"', "placement 8:2 reaches beyond 8 slices"),
        ('at: "{0,2,4}:2"', 'at: "{1,3,5}:2"', "does not begin on a multiple of 2"),
        ('at: "{0,2,4}:2"', 'at: "{0,2}:2"', "3 instances, but its placements hold 2 at once"),
        ('at: "{0,2,4}:2"', 'at: "0,2,4:2"', "no list of placements"),
        ("copy_engines: 2, decoders: 1", "copy_engines: 2, decoders: 2", "3 x 2 are more than the board's 5"),
        (
            "max: 3, memory_mib: 9856",
            "max: 3, memory_mib: 19856",
            "3 x 19856 are more than the board's 40960",
        ),
        ("slices: 3, id", "slices: 5, id", "NVML knows no profile of 5 slices"),
        ("2: [1, 2], ", "", "nothing is said of GPU instances of 2 slices"),
        ("2: [1, 2], ", "2: [1], ", "must offer the compute instance of all its 2 slices"),
        ("2: [1, 2], ", "2: [1, 2, 3], ", "cannot hold a compute instance of 3 slices"),
        ("mig_capable: true", "mig_capable: false", "mig_capable is false"),
    ],
    ids=lambda value: value if " " in value and "{" not in value else "",
)
def test_a_section_that_contradicts_itself_is_refused_by_name(old: str, new: str, said: str) -> None:
    text = (_boards() / "a100-sxm4-40.yaml").read_text()
    assert old in text

    with pytest.raises(ProfileError, match=re.escape(said)) as refused:
        parse_profile(Board, text.replace(old, new), "mine.yaml")
    assert re.search(r"mine.yaml:\d+: mig", str(refused.value))


def _boards() -> Any:
    from importlib.resources import files

    return files("claimwright.emulator") / "boards"


class BruteForce:
    """A second opinion that shares no code: sets of slices, and every subset of places tried."""

    def __init__(self, board: Board) -> None:
        assert board.mig is not None
        engines = board.engines
        self.kinds = {each.id: each for each in board.mig.gpu_instances}
        self.budget = {
            "slices": board.mig.compute_slices,
            "copy_engines": engines.copy_engines,
            "decoders": engines.decoders,
            "encoders": engines.encoders,
            "jpeg_engines": engines.jpeg_engines,
            "optical_flow": engines.optical_flow,
        }
        self.live: dict[tuple[int, int], int] = {}  # (start, size) -> profile

    def slots(self) -> set[int]:
        return {slot for start, size in self.live for slot in range(start, start + size)}

    def legal(self, extra: list[tuple[int, Placement]]) -> bool:
        everything = [(kind, *place) for place, kind in self.live.items()]
        everything += [(kind, place.start, place.size) for kind, place in extra]
        slots = [slot for _, start, size in everything for slot in range(start, start + size)]
        if len(slots) != len(set(slots)):
            return False
        if any(
            sum(kind == each for each, _, _ in everything) > self.kinds[kind].max for kind, _, _ in everything
        ):
            return False
        return all(
            sum(getattr(self.kinds[kind], name) for kind, _, _ in everything) <= most
            for name, most in self.budget.items()
        )

    def can(self, kind: int, place: Placement) -> bool:
        return self.legal([(kind, place)])

    def most(self, kind: int) -> int:
        places = self.kinds[kind].at
        for count in range(len(places), 0, -1):
            for chosen in combinations(places, count):
                if self.legal([(kind, place) for place in chosen]):
                    return count
        return 0

    def favourite(self, kind: int) -> Placement | None:
        best: tuple[int, int] | None = None
        winner = None
        for place in self.kinds[kind].at:
            if not self.can(kind, place):
                continue
            taken = self.slots() | set(range(place.start, place.start + place.size))
            left = 0
            for other in self.kinds.values():
                left += sum(not taken & set(range(at.start, at.start + at.size)) for at in other.at)
            if best is None or (left, -place.start) > best:
                best, winner = (left, -place.start), place
        return winner


@pytest.mark.slow
@pytest.mark.capability("003-20")
@pytest.mark.parametrize("board", ["a100-sxm4-40", "h100-sxm5-80", "a30", "b200", "rtx-pro-6000-bse"])
def test_a_hundred_thousand_random_steps_agree_with_a_brute_force_solver(board: str) -> None:
    """20 000 steps on each of five boards; every refusal, place, id and remaining count is compared."""
    seed = random.Random(board)
    model, truth = enabled(board), BruteForce(load_board(board))
    ids = list(truth.kinds)
    for step in range(20_000):
        if truth.live and seed.random() < 0.45:
            place = seed.choice(list(truth.live))
            held = next(each for each in gpu_of(model).mig.gpu_instances if tuple(each.placement) == place)  # type: ignore[union-attr]
            model.perform(mig.destroy_gpu_instance, 0, held.id)
            del truth.live[place]
        else:
            kind = seed.choice(ids)
            asked = seed.choice(truth.kinds[kind].at) if seed.random() < 0.5 else None
            expected = truth.favourite(kind) if asked is None else asked if truth.can(kind, asked) else None
            start = None if asked is None else asked.start
            if expected is None:
                reason = refusal(model.perform, mig.create_gpu_instance, 0, kind, start=start)
                assert reason is Refusal.INSUFFICIENT_RESOURCES
            else:
                assert model.perform(mig.create_gpu_instance, 0, kind, start=start).placement == expected
                truth.live[expected.start, expected.size] = kind
        if step % 20 == 0:
            assert {kind: remaining(model, kind) for kind in ids} == {kind: truth.most(kind) for kind in ids}
        instances = gpu_of(model).mig.gpu_instances  # type: ignore[union-attr]
        assert {tuple(each.placement): each.profile for each in instances} == truth.live
        assert len({each.id for each in instances}) == len(instances)
