"""Scripts on a fake clock, their text, durations, words, and load over time."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from claimwright.emulator.errors import ExpectationFailed, OperationRefused, ProfileError
from claimwright.emulator.faults.durations import duration_text, parse_duration
from claimwright.emulator.faults.load import load_of
from claimwright.emulator.faults.reference import markdown, with_table
from claimwright.emulator.faults.running import ScriptRun
from claimwright.emulator.faults.script import ScriptProfile
from claimwright.emulator.faults.words import read_words, words_of
from claimwright.emulator.model import NodeModel, build_node, load_node_profile, parse_profile
from claimwright.emulator.model.faults import FAULTS
from claimwright.emulator.model.operations import faults
from claimwright.emulator.model.operations.load import apply_load


class FakeClock:
    """Time that passes only when somebody sleeps."""

    def __init__(self) -> None:
        self.moment = 1000.0

    def now(self) -> float:
        return self.moment

    async def sleep_until(self, moment: float) -> None:
        await asyncio.sleep(0)
        self.moment = max(self.moment, moment)


class StoppedClock(FakeClock):
    """Time that stands still after a while: whoever sleeps beyond waits for ever."""

    def __init__(self, last: float) -> None:
        super().__init__()
        self.last = self.moment + last
        self.reached = asyncio.Event()

    async def sleep_until(self, moment: float) -> None:
        if moment > self.last:
            self.reached.set()
            await asyncio.Event().wait()
        await super().sleep_until(moment)


def script(steps: str) -> ScriptProfile:
    return parse_profile(ScriptProfile, f"name: test\nsteps:\n{steps}", "test.yaml")


def run(steps: str, model: NodeModel | None = None) -> tuple[NodeModel, list[Mapping[str, Any]]]:
    """Run a script to its end on a fake clock; what it told, in order."""
    model = model or NodeModel(build_node(load_node_profile("hgx-h100"), "node"))
    told: list[Mapping[str, Any]] = []
    asyncio.run(ScriptRun(model, script(steps), FakeClock(), told.append).run())
    return model, told


def active(model: NodeModel) -> list[str]:
    return [each.fault.name for each in model.snapshot().faults]


def test_steps_happen_at_their_times_whatever_their_order_in_the_text() -> None:
    _, told = run(
        "  - {at: 2s, clear: all}\n  - {at: 500ms, inject: gpu-lost gpu=3}\n  - {at: 1s, expect: {gpus.3.lost: true}}\n"
    )
    assert [(said["at"], said["step"].split()[0]) for said in told] == [
        (0.5, "inject"),
        (1.0, "expect"),
        (2.0, "clear"),
    ]


def test_a_fault_with_for_ends_by_itself() -> None:
    model, told = run(
        "  - {at: 1s, inject: nvlink-down gpu=0 link=4 for=30s}\n"
        "  - {at: 30s, expect: {gpus.0.nvlinks_active: 17}}\n"
        "  - {at: 31.5s, expect: {gpus.0.nvlinks_active: 18}}\n"
    )
    assert not active(model)
    assert [said["at"] for said in told] == [1.0, 30.0, 31.0, 31.5]


def test_a_step_is_repeated_as_often_as_it_says() -> None:
    model, told = run("  - {at: 1s, inject: pcie-replays gpu=0 count=2, repeat: {every: 10s, times: 5}}\n")
    assert model.snapshot().gpus[0].health.pcie_replays == 10
    assert [said["at"] for said in told] == [1, 11, 21, 31, 41]


def test_a_label_is_cleared_by_its_name_and_what_is_over_already_is_no_error() -> None:
    model, told = run(
        "  - {at: 0, inject: power-cap gpu=0, as: cap}\n  - {at: 0, inject: power-brake gpu=0}\n"
        "  - {at: 1s, clear: cap}\n  - {at: 2s, inject: power-cap gpu=1, as: other}\n  - {at: 3s, clear: power-cap}\n"
        "  - {at: 4s, clear: other}\n"
    )
    assert active(model) == ["power-brake"]
    assert told[-1]["outcome"] == "was over already"


def test_a_call_does_what_the_node_can_do() -> None:
    model, _ = run("  - {at: 0, call: start_process gpu=0 pid=4242 name=train memory_bytes=1073741824}\n")
    assert [each.pid for each in model.snapshot().gpus[0].processes] == [4242]


def test_an_expectation_that_does_not_hold_names_its_time_path_and_values() -> None:
    with pytest.raises(
        ExpectationFailed, match=r"at 5s, expect gpus\.3\.lost=True: gpus\.3\.lost is False, expected True"
    ):
        run("  - {at: 5s, expect: {gpus.3.lost: true}}\n")


def test_a_path_that_leads_nowhere_says_where_it_ends() -> None:
    with pytest.raises(ExpectationFailed, match=r"no 'colour' in gpus\.3"):
        run("  - {at: 5s, expect: {gpus.3.colour: red}}\n")


def test_a_script_that_fails_ends_its_own_faults_and_no_others() -> None:
    model = NodeModel(build_node(load_node_profile("hgx-h100"), "node"))
    model.perform(faults.inject_fault, "power-cap", {"gpu": 5})
    with pytest.raises(OperationRefused, match=r"at 1s, inject gpu-lost gpu=9: .*no GPU 9"):
        run("  - {at: 0, inject: power-brake gpu=1}\n  - {at: 1s, inject: gpu-lost gpu=9}\n", model)
    assert active(model) == ["power-cap"]


def test_cancelling_ends_the_faults_of_the_script() -> None:
    model = NodeModel(build_node(load_node_profile("hgx-h100"), "node"))

    async def cancelled() -> None:
        clock = StoppedClock(10)
        steps = script("  - {at: 0, inject: gpu-lost gpu=1}\n  - {at: 1h, clear: all}\n")
        task = asyncio.create_task(ScriptRun(model, steps, clock).run())
        await asyncio.wait_for(clock.reached.wait(), 20)
        assert active(model) == ["gpu-lost"]
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(cancelled())
    assert not active(model)


def test_the_same_script_does_the_same_twice() -> None:
    steps = (
        "  - {at: 1s, inject: nvlink-down gpu=0 link=4 for=2s, repeat: {every: 5s, times: 20}}\n"
        "  - {at: 0, load: square gpu=0 over=1m period=8s}\n  - {at: 30s, inject: xid=79 gpu=2 for=1s}\n"
    )
    first, second = run(steps), run(steps)
    assert first[1] == second[1]
    assert first[0].snapshot().gpus == second[0].snapshot().gpus


@pytest.mark.parametrize(
    ("text", "line", "said"),
    [
        ("", 1, "empty"),
        ("steps: []\n", 1, "at least 1"),
        ("steps:\n  - {at: soon, clear: all}\n", 2, "'soon' is no duration"),
        ("steps:\n  - {at: -1, clear: all}\n", 2, "is outside 0s"),
        ("steps:\n  - at: 1s\n", 2, "does nothing; expected one of inject, clear, call, load, expect"),
        ("steps:\n  - at: 1s\n    inject: gpu-lost gpu=1\n    clear: all\n", 2, "has inject and clear"),
        ("steps:\n  - at: 1s\n    inject: xidd gpu=1\n", 3, "no fault 'xidd'"),
        ("steps:\n  - at: 1s\n    inject: gpu-lost\n", 3, "gpu: Field required"),
        ("steps:\n  - at: 1s\n    inject: gpu-lost gpu=1 gpu=2\n", 3, "'gpu' is given twice"),
        ("steps:\n  - at: 1s\n    inject: 'gpu-lost \"gpu=1'\n", 3, "No closing quotation"),
        ("steps:\n  - at: 1s\n    call: explode\n", 3, "unknown operation 'explode'"),
        ("steps:\n  - at: 1s\n    load: ramp gpu=0\n", 3, "over: Field required"),
        ("steps:\n  - at: 1s\n    load: spiral gpu=0 over=1s\n", 3, "shape"),
        ("steps:\n  - at: 1s\n    clear: all\n    as: x\n", 4, "only a step that injects can have a label"),
        ("steps:\n  - {at: 1s, clear: all, repeat: {every: 0, times: 2}}\n", 2, "greater than 0"),
        ("steps:\n  - {at: 1s, clear: all, repeat: {every: 1s, times: 1000000}}\n", 2, "100000"),
        ("steps:\n  - {at: 1s, clear: all, colour: red}\n", 2, "unknown key"),
        ("steps: [\n", 2, "not YAML"),
        ("a: &a [*a]\n", 1, ""),
        ("steps: [{at: 2001-13-45, clear: all}]\n", 1, "'2001-13-45' cannot be read as timestamp"),
        (f"steps:\n  - at: {'1' * 5000}\n    clear: all\n", 2, "cannot be read as int"),
        ("at: !!int ''\n", 1, "'' cannot be read as int"),
        ("at: !!bool maybe\n", 1, "'maybe' cannot be read as bool"),
        ("2001-01-01: x\n", 1, "a key must be a word"),
        ("name: x\n\x07", 2, "control characters are not allowed"),
        ("[" * 100_000, 1, "nested too deep"),
        ("- " * 100_000, 1, "nested too deep"),
        ("a:\n" + "".join(" " * depth + "b:\n" for depth in range(1, 3000)), 51, "nested too deep"),
        ("steps:\n  - at: 1s\n    inject: {name: xid}\n", 3, "expected one as on the command line"),
        ("steps:\n  - at: 1s\n    inject: xid=13 gpu=1 for=3s\n", 3, "leaves nothing behind that could end"),
        (
            "steps:\n  - at: 1s\n    inject: xid=13 gpu=1\n    as: x\n",
            4,
            "leaves nothing behind that could end",
        ),
        ("steps:\n  - at: 1s\n    inject: gpu-lost gpu=1 for=0s\n", 3, "ends before it begins"),
        ("steps:\n  - at: 1s\n    call: lose\n", 3, "lose: gpu: Field required"),
        ("steps:\n  - at: 1s\n    call: lose gpu=1 for=3s\n", 3, "a call does not last"),
        ("steps:\n  - at: 1s\n    load: ramp gpu=0 over=3s for=3s\n", 3, "by `over`, not by `for`"),
        (
            "steps:\n  - at: 1s\n    clear: nothing\n",
            3,
            "'nothing' is not known; expected all, a label (none is",
        ),
        (
            "steps:\n  - at: 1s\n    inject: power-cap gpu=1\n    as: gpu-lost\n",
            4,
            "means something to `clear`",
        ),
        (
            "steps:\n  - {at: 0, inject: power-cap gpu=1, as: x}\n  - {at: 0, inject: power-cap gpu=2, as: x}\n",
            3,
            "'x' is the label of an earlier step",
        ),
        ("steps:\n  - {at: 1s, expect: {}}\n", 2, "at least 1"),
    ],
)
def test_a_malformed_script_is_refused_with_file_line_and_reason(text: str, line: int, said: str) -> None:
    with pytest.raises(ProfileError) as refused:
        parse_profile(ScriptProfile, text, "bad.yaml")
    assert f"bad.yaml:{line}:" in str(refused.value)
    assert said in str(refused.value)


def test_only_the_faults_themselves_are_reported_and_not_what_follows_from_them() -> None:
    with pytest.raises(ProfileError) as refused:
        parse_profile(
            ScriptProfile, "steps:\n  - {at: soon, clear: all}\n  - {at: 1s, clear: 5}\n", "bad.yaml"
        )
    head, *rest = str(refused.value).splitlines()
    assert head == "bad.yaml is no valid script profile:"
    assert [line.split(": ")[0].strip() for line in rest] == ["bad.yaml:2", "bad.yaml:3"]


_VALID = """name: all of it
steps:
  - {at: 0, inject: nvlink-down gpu=0 link=4 for=30s, repeat: {every: 1m, times: 3}}
  - {at: 1s, inject: xid=79 gpu=3, as: lost}
  - {at: 2.5s, expect: {gpus.3.lost: true, "gpus.0.nvlinks_active": 17}}
  - {at: 10s, clear: lost}
  - {at: 11s, call: start_process gpu=0 pid=4242 name=train memory_bytes=1024}
  - {at: 12s, load: square gpu=0 over=10m period=20s low=5 high=95}
"""
_BITS = st.sampled_from(
    [*"-{}[]:\"'?|%~0\n\t\x00\U0001f600", "*a", "&a ", "!!int ", "!!bool ", "0x", "at", ".inf", "2001-13-45"]
) | st.sampled_from(["1e9", "for=", "gpu=", "xid=79", "<<: ", "9" * 5000])


@given(
    edits=st.lists(
        st.tuples(st.integers(0, len(_VALID)), st.integers(0, 12), _BITS | st.text(max_size=4)), max_size=6
    )
)
def test_any_text_is_a_script_or_is_refused_with_file_and_line(edits: list[tuple[int, int, str]]) -> None:
    text = _VALID
    for at, length, bit in edits:
        text = text[:at] + bit + text[at + length :]
    refusal = None
    try:
        parsed = parse_profile(ScriptProfile, text, "some.yaml")
    except ProfileError as error:
        refusal = str(error)
    if refusal is None:
        assert parsed.count >= 1
        assert parsed.seconds >= 0
    else:
        assert re.search(r"some\.yaml:\d+: ", refusal)


def test_a_script_knows_how_long_it_runs_and_how_many_steps_it_has() -> None:
    parsed = parse_profile(ScriptProfile, _VALID, "valid.yaml")
    assert (parsed.count, parsed.seconds) == (8, 612.0)


def test_a_load_of_a_week_costs_no_more_than_one_of_a_minute() -> None:
    clock = StoppedClock(60)
    model = NodeModel(build_node(load_node_profile("l4"), "node"))
    started = script("  - {at: 0, load: constant gpu=0 over=168h}\n")
    run = ScriptRun(model, started, clock)

    async def a_minute() -> None:
        task = asyncio.create_task(run.run())
        await asyncio.wait_for(clock.reached.wait(), 20)
        assert run.planned <= 1
        assert model.snapshot().gpus[0].utilization.gpu == 100
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    asyncio.run(a_minute())


def test_a_load_on_a_gpu_that_is_lost_meanwhile_does_not_fail() -> None:
    model, _ = run("  - {at: 0, load: constant gpu=0 over=10s}\n  - {at: 3s, inject: gpu-lost gpu=0}\n")
    assert active(model) == ["gpu-lost"]


@given(st.text(max_size=60))
def test_any_words_are_read_or_refused_with_a_value_error(text: str) -> None:
    try:
        words = read_words(text)
    except ValueError:
        return
    assert words.name


def test_a_bare_first_parameter_names_the_fault() -> None:
    words = words_of(["xid=79", "gpu=3", "for=1m30s"])
    assert (words.name, words.parameters, words.lasting_seconds) == ("xid", {"xid": 79, "gpu": 3}, 90.0)


@given(st.floats(min_value=0.001, max_value=600_000))
def test_a_duration_survives_its_text(seconds: float) -> None:
    assert parse_duration(duration_text(seconds)) == pytest.approx(seconds, rel=0.01, abs=0.001)


@pytest.mark.parametrize(
    "text", ["", "s", "1", "-1s", "1 2", "1s1", "1d", "200h", None, True, [], "nan", "1e3s"]
)
def test_what_is_no_duration_is_refused(text: object) -> None:
    with pytest.raises(ValueError, match=r"duration|outside"):
        parse_duration(text)


def test_load_warms_slowly_and_idling_cools_again() -> None:
    model, _ = run("  - {at: 0, load: constant gpu=0 over=20s}\n")
    early = model.snapshot().gpus[0]
    assert early.utilization.gpu == 0  # its end
    idle = early.board.thermals.idle
    warm = early.temperature.gpu
    assert idle + 5 < warm < early.board.thermals.slowdown_at - 20
    run("  - {at: 0, load: constant gpu=0 over=10m}\n", model)
    hot = model.snapshot().gpus[0].temperature.gpu
    assert warm < hot < early.board.thermals.slowdown_at
    run("  - {at: 0, load: idle gpu=0 over=15m}\n", model)
    assert model.snapshot().gpus[0].temperature.gpu <= idle + 1


def test_power_and_clocks_follow_the_load_at_once() -> None:
    model = NodeModel(build_node(load_node_profile("hgx-h100"), "node"))
    before = model.snapshot().gpus[0]
    model.perform(apply_load, 0, 100, 0.0)
    busy = model.snapshot().gpus[0]
    assert busy.power.usage_milliwatts == busy.power.limit_milliwatts
    assert busy.clocks.graphics > before.clocks.graphics
    assert busy.temperature == before.temperature


@given(
    percents=st.lists(st.integers(0, 100), max_size=40),
    seconds=st.floats(min_value=0, max_value=120),
)
def test_no_load_drives_a_gpu_beyond_its_slowdown_or_below_rest(percents: list[int], seconds: float) -> None:
    model = NodeModel(build_node(load_node_profile("l4"), "node"))
    for percent in percents:
        model.perform(apply_load, 0, percent, seconds)
        gpu = model.snapshot().gpus[0]
        assert gpu.board.thermals.idle - 1 <= gpu.temperature.gpu <= gpu.board.thermals.slowdown_at


@pytest.mark.parametrize(
    ("text", "moments"),
    [
        ("ramp gpu=0 over=10s low=20 high=60", {0: 20, 5: 40, 9.9: 60, 10: 0}),
        ("square gpu=0 over=10s period=4s low=10 high=90", {0: 90, 1.9: 90, 2: 10, 4: 90, 11: 0}),
        ("constant gpu=0 over=2s high=70", {0: 70, 1.9: 70, 2: 0}),
        ("idle gpu=0 over=2s", {0: 0, 1: 0}),
    ],
)
def test_shapes_of_load(text: str, moments: dict[float, int]) -> None:
    load = load_of(read_words(text))
    assert {moment: load.percent(moment) for moment in moments} == moments


def test_the_table_of_classes_names_each_with_its_faces_and_cures() -> None:
    text = markdown()
    assert all(f"| `{name}` |" in text for name in FAULTS)
    document = with_table("head\n<!-- faults: begin (generated) -->\nold\n<!-- faults: end -->\ntail\n")
    assert document.startswith("head\n")
    assert document.endswith("tail\n")
    assert "old" not in document
