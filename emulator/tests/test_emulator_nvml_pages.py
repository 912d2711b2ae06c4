"""Pages that follow changes section by section say what a page encoded as a whole says."""

from __future__ import annotations

import mmap
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from claimwright.emulator.model import GpuState, NodeModel, NodeState, OperationRefused, build_node
from claimwright.emulator.model import load_node_profile as profile
from claimwright.emulator.model.change import Change
from claimwright.emulator.model.operations import bus, fabric, gpus, mig
from claimwright.emulator.nvml import encode_pages
from claimwright.emulator.nvml.layout import GPU, HEADER_BYTES, PAGE_BYTES
from claimwright.emulator.nvml.pages import PageWriter
from claimwright.emulator.nvml.sections import sections

_START = {name: build_node(profile(name), "n") for name in ("hgx-h100", "every-mode", "gb200-tray")}
_GPU = st.integers(0, 3)


def _steps() -> st.SearchStrategy[tuple[object, tuple[object, ...], dict[str, object]]]:
    """Operations with arguments that they accept, by and large."""
    on = st.booleans()
    numbers = st.sampled_from([0, 1, 5, 79, 400_000, 700_000])

    def step(operation: object, *arguments: st.SearchStrategy, **named: st.SearchStrategy):
        return st.tuples(st.just(operation), st.tuples(*arguments), st.fixed_dictionaries(named))

    return st.one_of(
        step(gpus.set_persistence_mode, _GPU, enabled=on),
        step(gpus.set_compute_mode, _GPU, st.sampled_from([0, 2, 3])),
        step(gpus.set_power_limit, _GPU, numbers),
        step(gpus.set_ecc_mode, _GPU, enabled=on),
        step(gpus.lock_clocks, _GPU, st.just(600), st.just(900)),
        step(gpus.unlock_clocks, _GPU),
        step(gpus.start_process, _GPU, st.integers(1, 3), st.just("train"), memory_bytes=numbers),
        step(gpus.stop_process, _GPU, st.integers(1, 3)),
        step(mig.set_mig_mode, _GPU, enabled=on),
        step(mig.create_gpu_instance, _GPU, st.sampled_from([9, 14, 19])),
        step(mig.create_compute_instance, _GPU, st.integers(0, 3)),
        step(gpus.lose, _GPU),
        step(bus.set_virtual_functions, st.just("0000:41:00.0"), st.integers(0, 2)),
        step(fabric.join_fabric, st.just("3f6b3d35-3f2a-4b8d-9d3e-0d6f0c6b7a11"), st.integers(0, 9)),
    )


def _pages(writer: PageWriter, state: NodeState) -> list[bytes]:
    """Read what every reader maps, without the sequence numbers."""
    with mmap.mmap(writer.memfd, HEADER_BYTES + len(state.gpus) * PAGE_BYTES, prot=mmap.PROT_READ) as memory:
        starts = (HEADER_BYTES + gpu.index * PAGE_BYTES for gpu in state.gpus)
        return [memory[at + 4 : at + PAGE_BYTES] for at in starts]


def _whole(state: NodeState) -> list[bytes]:
    image = encode_pages(state)
    starts = (HEADER_BYTES + gpu.index * PAGE_BYTES for gpu in state.gpus)
    return [image[at + 4 : at + PAGE_BYTES] for at in starts]


@settings(max_examples=60, deadline=None)
@given(st.sampled_from(sorted(_START)), st.lists(_steps(), max_size=12))
def test_after_any_operations_the_pages_are_those_of_the_state(name: str, steps: list) -> None:
    model = NodeModel(_START[name])
    with PageWriter.create("n") as writer:
        model.subscribe(writer.publish)
        for operation, arguments, named in steps:
            try:
                model.perform(operation, *arguments, **named)
            except OperationRefused:
                continue
        state = model.snapshot()
        assert _pages(writer, state) == _whole(state)


def _of_every_member(gpu: GpuState) -> list[GpuState]:
    """Change one member after the other, each to what another GPU of the fleet has or to nothing."""
    return [
        replace(gpu, health=replace(gpu.health, clock_reasons=gpu.health.clock_reasons | 0x8)),
        replace(gpu, health=replace(gpu.health, pcie_replays=7)),
        replace(gpu, temperature=replace(gpu.temperature, gpu=77)),
        replace(gpu, power=replace(gpu.power, usage_milliwatts=123_456)),
        replace(gpu, clocks=replace(gpu.clocks, sm=999)),
        replace(gpu, utilization=replace(gpu.utilization, gpu=55, optical_flow=3)),
        replace(gpu, performance_state=8),
        replace(gpu, link_generation=1, link_width=4),
        replace(gpu, ecc=None),
        replace(gpu, fabric=None),
        replace(gpu, nvlinks=()),
        replace(gpu, mig=None),
        replace(gpu, nvml_visible=False),
        replace(gpu, lost=True),
    ]


@pytest.mark.parametrize("number", range(14))
def test_every_member_that_changes_reaches_the_page(number: int) -> None:
    state = build_node(profile("hgx-h100"), "n")
    changed = _of_every_member(state.gpus[0])[number]
    model = NodeModel(state)
    with PageWriter.create("n") as writer:
        model.subscribe(writer.publish)
        before = _pages(writer, state)[0]
        model.perform(lambda now: Change(replace(now, gpus=(changed, *now.gpus[1:])), None))
        after = _pages(writer, model.snapshot())[0]
    assert before != after
    if changed.nvlinks:  # how many there are is of what the GPU is, and stays
        assert after == _whole(model.snapshot())[0]


def test_the_sections_cover_the_page_once() -> None:
    members = [field.name for field in GPU.fields]
    covered = [field.name for section in sections() for field in section.record.fields]
    assert ["sequence", *covered] == members
