from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from claimwright.dra.claims import ClaimReference, ClaimUid
from claimwright.reports.errors import ManifestError, TargetError
from claimwright.reports.measuring.claims import AllocatedClaim
from claimwright.reports.measuring.driver_process import started, usage
from claimwright.reports.measuring.loads import Answer
from claimwright.reports.measuring.manifests import built_in, read_template
from claimwright.reports.measuring.options import LoadShape, PodShape
from claimwright.reports.measuring.pod_watch import phases, pod_steps
from claimwright.reports.measuring.prepare import Prepares
from claimwright.reports.measuring.progress import Progress
from claimwright.reports.measuring.recorder import Recorder
from claimwright.reports.measuring.slices import PublishedDevice, read_pools, usable
from claimwright.reports.samples import Sample, SampleFile, SampleWriter, read_samples

SHAPE = LoadShape(cycles=40, repetitions=2, warm_up=3, in_flight=8, per_second=2000, seconds=20)


class FakePlugin:
    """Answers calls; knows which devices are held, and never lets one be held twice."""

    def __init__(self, *, fails: Callable[[int], Answer] | None = None, seconds: float = 0) -> None:
        self.held: dict[PublishedDevice, str] = {}
        self.most = 0
        self.prepares = 0
        self._fails = fails or (lambda _number: Answer())
        self._seconds = seconds

    async def prepare(self, claim: AllocatedClaim) -> Answer:
        self.prepares += 1
        number = self.prepares
        assert self.held.setdefault(claim.device, claim.reference.uid) == claim.reference.uid
        self.most = max(self.most, len(self.held))
        await asyncio.sleep(self._seconds)
        return self._fails(number)

    async def release(self, claim: AllocatedClaim) -> Answer:
        self.held.pop(claim.device, None)
        return Answer()


def allocated(count: int, devices: int) -> list[AllocatedClaim]:
    return [
        AllocatedClaim(
            ClaimReference("ns", f"c{index}", ClaimUid(f"u{index}")),
            PublishedDevice("pool", f"dev-{index % devices}"),
        )
        for index in range(count)
    ]


def run(tmp_path: Path, plugin: FakePlugin, *, devices: int = 4, shape: LoadShape = SHAPE) -> SampleFile:
    path = tmp_path / "r.jsonl"
    with SampleWriter(path, {"hardware": "emulated", "run": "r"}) as writer:
        recorder = Recorder(writer, "r", "prepare/v1")
        progress = Progress(lambda _line: None)
        claims = allocated(shape.cycles, devices)
        asyncio.run(Prepares(plugin, claims, recorder, shape, progress).run())
    return read_samples(path)


def of(found: SampleFile, metric: str, load: str) -> list[Sample]:
    return [entry for entry in found.samples if entry.metric == metric and entry.parameters["load"] == load]


def test_every_cycle_of_every_load_is_one_sample_and_the_warm_up_is_none(tmp_path: Path) -> None:
    plugin = FakePlugin()
    found = run(tmp_path, plugin)
    for load in ("serial", "parallel", "open"):
        assert len(of(found, "L-PREP-K", load)) == len(of(found, "L-UNPREP-K", load)) == 40
    assert [entry.repetition for entry in of(found, "T-PREP", "parallel")] == [0, 1]
    assert plugin.prepares == 3 * 40 + 3
    assert plugin.held == {}


def test_no_device_is_prepared_for_two_claims_at_a_time(tmp_path: Path) -> None:
    plugin = FakePlugin(seconds=0.001)
    found = run(tmp_path, plugin, devices=3)  # the fake asserts it at each call
    assert plugin.most == 3
    assert {entry.parameters["in_flight"] for entry in of(found, "L-PREP-K", "parallel")} == {3}


def test_failures_are_counted_with_what_was_said_and_never_dropped(tmp_path: Path) -> None:
    plugin = FakePlugin(
        fails=lambda number: Answer("error", "the tray is empty") if number % 7 == 0 else Answer()
    )
    found = run(tmp_path, plugin)
    failed = [entry for entry in found.samples if not entry.ok]
    assert len(failed) == sum(number % 7 == 0 for number in range(4, 124))
    assert {entry.labels["message"] for entry in failed} == {"the tray is empty"}
    prepares = [entry for entry in found.samples if entry.metric == "L-PREP-K"]
    assert len(prepares) == 120


def test_a_driver_that_only_fails_ends_the_run_with_its_own_words(tmp_path: Path) -> None:
    plugin = FakePlugin(fails=lambda _number: Answer("error", "the tray is empty"))
    with pytest.raises(TargetError, match=r"all 3 prepares .* the tray is empty"):
        run(tmp_path, plugin)


def test_a_driver_that_breaks_down_is_given_up_and_this_is_noted(tmp_path: Path) -> None:
    plugin = FakePlugin(fails=lambda number: Answer("error", "broken") if number > 30 else Answer())
    found = run(tmp_path, plugin)
    assert plugin.prepares < 60
    assert found.notes == ("the prepare workload was given up: broken",)


def test_a_slow_driver_ends_at_the_deadline_and_the_report_says_what_is_missing(tmp_path: Path) -> None:
    shape = LoadShape(cycles=40, repetitions=2, warm_up=1, per_second=2000, seconds=0.2)
    found = run(tmp_path, FakePlugin(seconds=0.03), shape=shape)
    assert "cycles were not begun" in found.notes[0]
    assert 0 < len(of(found, "L-PREP-K", "serial")) < 40


def test_a_stall_is_seen_by_every_call_that_fell_due_meanwhile(tmp_path: Path) -> None:
    class Stalling(FakePlugin):
        async def prepare(self, claim: AllocatedClaim) -> Answer:
            answer = await super().prepare(claim)
            if self.prepares == 23:  # the third of the open load: 1 + 10 + 10 came before
                time.sleep(0.2)  # noqa: ASYNC251 - everything stands still
            return answer

    shape = LoadShape(cycles=10, repetitions=1, warm_up=1, per_second=100, seconds=20)
    found = run(tmp_path, Stalling(), shape=shape)
    late = [entry for entry in of(found, "L-PREP-K", "open") if entry.amount > 50]
    # At 100 a second, about 7 further calls fall due within the stall; closed loops would see one.
    assert len(late) >= 5


def test_claims_still_prepared_are_released_when_a_run_is_cut_off(tmp_path: Path) -> None:
    class Interrupted(FakePlugin):
        async def prepare(self, claim: AllocatedClaim) -> Answer:
            if self.prepares == 20:
                raise KeyboardInterrupt
            return await super().prepare(claim)

    plugin = Interrupted()
    with pytest.raises((KeyboardInterrupt, BaseExceptionGroup)):
        run(tmp_path, plugin)
    assert plugin.held == {}


def slice_of(
    name: str, *, generation: int = 1, count: int = 1, pool: str = "n", **device: Any
) -> dict[str, Any]:
    spec = {"driver": "d", "nodeName": "n", "devices": [{"name": name, **device}]}
    spec["pool"] = {"name": pool, "generation": generation, "resourceSliceCount": count}
    return {"spec": spec}


def test_only_the_newest_generation_counts_and_it_must_be_whole() -> None:
    old, half = slice_of("a"), slice_of("b", generation=2, count=2)
    assert read_pools([old], driver="d", node="n").complete
    assert not read_pools([old, half], driver="d", node="n").complete
    whole = read_pools([old, half, slice_of("c", generation=2, count=2)], driver="d", node="n")
    assert whole.complete
    assert [device.name for device in whole.devices] == ["b", "c"]
    assert not read_pools([old], driver="d", node="other").complete


def test_devices_of_pods_tainted_ones_and_overlapping_partitions_are_left_alone() -> None:
    taints = [{"key": "k", "effect": "NoSchedule"}]
    counters = [{"counterSet": "gpu", "counters": {}}]
    slices = [
        slice_of("free", pool="a"),
        slice_of("held", pool="b"),
        slice_of("tainted", pool="c", taints=taints),
        slice_of("part", pool="e", consumesCounters=counters),
    ]
    pools = read_pools(slices, driver="d", node="n")
    results = [{"driver": "d", "pool": "b", "device": "held"}]
    claims = [{"status": {"allocation": {"devices": {"results": results}}}}, {}]
    assert [device.name for device in usable(pools, claims, driver="d")] == ["free"]


def test_phases_follow_each_other_and_fill_the_whole_start() -> None:
    steps = {"claim": 10, "allocated": 30, "scheduled": 29, "sandbox": 80, "running": 100}
    cut = phases(steps, 0)  # type: ignore[arg-type]
    assert [name for name, _, _ in cut][-2:] == ["scheduled_to_sandbox", "sandbox_to_running"]
    assert [end for _, _, end in cut] == [10, 30, 30, 80, 100]
    assert all(earlier[2] == later[1] for earlier, later in pairwise(cut))


@pytest.mark.parametrize("steps", [{"running": 100}, {"running": 100, "sandbox": 100}], ids=["never", "late"])
def test_without_a_sandbox_condition_the_last_two_phases_are_one(steps: dict[Any, int]) -> None:
    cut = phases({"claim": 1, "allocated": 2, "scheduled": 3, **steps}, 0)
    assert cut[-1] == ("scheduled_to_running", 3, 100)


def test_a_pod_that_never_came_far_has_the_phases_it_had() -> None:
    assert phases({"claim": 5}, 0) == [("create_to_claim", 0, 5)]
    assert phases({}, 0) == []


def test_a_pod_object_tells_its_steps() -> None:
    condition = {"type": "PodReadyToStartContainers", "status": "True"}
    pod = {"spec": {"nodeName": "n"}, "status": {"phase": "Running", "conditions": [condition]}}
    assert list(pod_steps(pod)) == ["scheduled", "sandbox", "running"]
    assert list(pod_steps({"spec": {}, "status": {"phase": "Failed"}})) == ["failed"]


def test_a_measured_pod_keeps_to_its_node_and_leaves_the_choice_to_the_scheduler() -> None:
    pod = built_in(PodShape(), "class").named("p", namespace="ns", run="r", node="node-7")
    assert "nodeName" not in pod["spec"]
    assert "node-7" in str(pod["spec"]["affinity"])


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("kind: Deployment", "document 1: kind 'Deployment'"),
        ("{kind: Pod, spec: {resourceClaims: [{}]}}\n---\n{kind: Pod}", "holds 2 Pods"),
        ("kind: Pod\nspec: {}", "no spec.resourceClaims"),
        ("", "holds 0 Pods"),
        ("- [", "cannot read"),
        ("hello", "kind None"),
    ],
    ids=["kind", "two pods", "no claims", "empty", "no yaml", "text"],
)
def test_a_manifest_that_cannot_be_measured_says_why(tmp_path: Path, text: str, told: str) -> None:
    (tmp_path / "pod.yaml").write_text(text)
    with pytest.raises(ManifestError, match=told):
        read_template(tmp_path / "pod.yaml")


def test_the_memory_of_a_process_is_that_of_its_whole_tree() -> None:
    # Busy for some of the kernel's ticks: what is quicker than one took no time.
    busy = "import time\nwhile time.process_time() < 0.1: pass\nprint(1, flush=True); input()"
    program = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {busy!r}])"
    with subprocess.Popen(
        [sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()
        found = usage(process.pid)
        assert found.processes == 2
        assert found.rss_bytes > 8e6
        assert found.cpu_seconds > 0
        process.communicate(b"\n", timeout=20)


def test_a_process_that_is_gone_is_named() -> None:
    with subprocess.Popen([sys.executable, "-c", ""]) as process:
        process.wait(20)
    with pytest.raises(TargetError, match=str(process.pid)):
        usage(process.pid)


def test_a_started_driver_is_gone_at_the_end_even_if_it_ignores_sigterm(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("claimwright.reports.measuring.driver_process.STOP_SECONDS", 0.5)
    program = "import signal, time; signal.signal(15, signal.SIG_IGN); print(1, flush=True); time.sleep(99)"
    with started([sys.executable, "-c", program], tmp_path / "log") as driver:
        until = time.monotonic() + 20
        while not (tmp_path / "log").read_text():
            assert time.monotonic() < until
    with pytest.raises(ProcessLookupError):
        os.kill(driver.pid, 0)


def test_a_driver_that_ends_is_reported_with_its_last_words(tmp_path: Path) -> None:
    with started([sys.executable, "-c", "raise SystemExit('no such board')"], tmp_path / "log") as driver:
        driver._process.wait(20)
        with pytest.raises(TargetError, match=r"status 1 [\s\S]*no such board"):
            driver.check()


def test_a_command_that_cannot_start_is_named(tmp_path: Path) -> None:
    with pytest.raises(TargetError, match="'/no/driver'"), started(["/no/driver"], tmp_path / "log"):
        pass


def test_the_signal_handler_is_put_back() -> None:
    from claimwright.reports.measuring.run import _signals

    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(KeyboardInterrupt), _signals():
        signal.raise_signal(signal.SIGTERM)
    assert signal.getsignal(signal.SIGTERM) is before
