"""Measuring on a real API server: a driver on the plugin kit, a node played by the kubelet stand-in."""

from __future__ import annotations

import json
import os
import secrets
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from claimwright.dra.kube import (
    DEVICE_CLASSES,
    NAMESPACES,
    NODES,
    RESOURCE_SLICES,
    Kube,
    NotFound,
    Resource,
)
from claimwright.reports.measuring.target import is_ready
from claimwright.reports.samples import SampleFile, read_samples

pytestmark = [pytest.mark.contract, pytest.mark.timeout(240)]
HERE = Path(__file__).parent


def command(*words: object) -> list[str]:
    return [str(word) for word in words]


@pytest.fixture(scope="module")
def kubeconfig() -> Iterator[Path]:
    """The runner's API server, or one of our own for these tests."""
    if given := os.environ.get("CLAIMWRIGHT_TEST_KUBECONFIG"):
        yield Path(given)
        return
    name = f"rpt{secrets.token_hex(2)}"
    program = [sys.executable, "-m", "claimwright.cli.main", "cluster"]
    up = subprocess.run(
        [*program, "up", "--nodes", "0", "--name", name, "--json"],
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )
    try:
        if up.returncode:
            pytest.skip(f"no API server can be started here: {up.stderr.strip()[-300:]}")
        yield Path(json.loads(up.stdout)["kubeconfig"])
    finally:
        subprocess.run([*program, "down", name], capture_output=True, timeout=60, check=False)


@dataclass(frozen=True)
class Bench:
    """A node of this test's own, its kubelet folder, and the names that are unique to it."""

    kubeconfig: Path
    kube: Kube
    name: str
    folder: Path

    @property
    def driver(self) -> str:
        return f"{self.name}.example.com"

    def driver_command(self, *more: str) -> list[str]:
        script = HERE / "reports_kit_driver.py"
        return command(sys.executable, script, self.kubeconfig, self.driver, self.name, self.folder, 4, *more)

    def measure_command(self, out: Path, *more: object) -> list[str]:
        words = ("--kubeconfig", self.kubeconfig, "--node", self.name, "--driver", self.driver)
        words += ("--registry-dir", self.folder / "plugins_registry", "--emulated", "--out", out)
        return command(sys.executable, "-m", "claimwright.cli.main", "report", "measure", *words, *more)

    def left_in_the_cluster(self) -> list[str]:
        """Name what runs of `report` have left; namespaces that are terminating are on their way out."""
        items = [
            item
            for resource in (NAMESPACES, DEVICE_CLASSES)
            for item in self.kube.list(resource, label_selector="reports.claimwright.dev/run")["items"]
        ]
        alive = [item for item in items if (item.get("status") or {}).get("phase") != "Terminating"]
        return [item["metadata"]["name"] for item in alive]


@pytest.fixture
def bench(kubeconfig: Path) -> Iterator[Bench]:
    name = f"rpt-{secrets.token_hex(3)}"
    folder = Path(tempfile.mkdtemp(prefix="rpt"))  # short: unix sockets have 108 bytes
    (folder / "plugins_registry").mkdir()
    kube = Kube.from_kubeconfig(kubeconfig)
    kube.create(NODES, {"metadata": {"name": name}})
    yield Bench(kubeconfig, kube, name, folder)
    kube.delete_collection(RESOURCE_SLICES, field_selector=f"spec.nodeName={name}")
    _delete(kube, NODES, name)
    shutil.rmtree(folder)


@pytest.fixture
def start() -> Iterator[Callable[[list[str]], subprocess.Popen[str]]]:
    """Start processes that are ended after the test."""
    running: list[subprocess.Popen[str]] = []

    def begin(words: list[str]) -> subprocess.Popen[str]:
        process = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        running.append(process)
        return process

    yield begin
    for process in running:
        process.terminate()
        try:
            process.communicate(timeout=20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate(timeout=20)


def wait(holds: Callable[[], bool], what: str, seconds: float = 60) -> None:
    until = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < until, f"{what} did not come within {seconds:.0f} s"
        time.sleep(0.05)


def _delete(kube: Kube, resource: Resource, name: str) -> None:
    try:
        kube.delete(resource, name)
    except NotFound:
        return


def measured(bench: Bench, tmp_path: Path, *more: object) -> SampleFile:
    done = subprocess.run(
        bench.measure_command(tmp_path / "out", "--json", *more),
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return read_samples(Path(json.loads(done.stdout)["samples"]))


def test_a_driver_is_measured_from_its_start_to_running_pods_and_nothing_stays(
    bench: Bench, tmp_path: Path, start: Callable[[list[str]], subprocess.Popen[str]]
) -> None:
    start(command(sys.executable, HERE / "reports_standin.py", bench.kubeconfig, bench.name, bench.folder))
    wait(lambda: is_ready(bench.kube.get(NODES, bench.name)), "a ready node")
    found = measured(
        bench,
        tmp_path,
        *("--driver-command", shlex.join(bench.driver_command())),
        *("--starts", 2, "--claims", 16, "--repetitions", 2, "--rate", 50, "--pods", 6),
    )
    counts = {
        name: sum(sample.metric == name for sample in found.samples)
        for name in ("L-PUB", "L-PREP-K", "L-UNPREP-K", "T-PREP", "R-MEM", "R-CPU")
    }
    assert counts == {"L-PUB": 2, "L-PREP-K": 48, "L-UNPREP-K": 48, "T-PREP": 4, "R-MEM": 2, "R-CPU": 2}
    assert [sample.outcome for sample in found.samples if not sample.ok] == []
    pods = [sample for sample in found.samples if sample.metric == "L-START"]
    totals = {s.labels["pod"]: s.duration_ns for s in pods if s.parameters["phase"] == "total"}
    assert len(totals) == 6
    assert {sample.parameters["kubelet"] for sample in pods} == {"stand-in"}
    for pod, total in totals.items():
        parts = [
            s.duration_ns or 0 for s in pods if s.labels["pod"] == pod and s.parameters["phase"] != "total"
        ]
        assert len(parts) >= 4
        assert sum(parts) == total
    assert bench.left_in_the_cluster() == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=["SIGINT", "SIGTERM"])
def test_a_run_that_is_ended_half_way_removes_what_it_made_and_keeps_its_samples(
    bench: Bench,
    tmp_path: Path,
    start: Callable[[list[str]], subprocess.Popen[str]],
    number: signal.Signals,
) -> None:
    start(bench.driver_command("--delay", "30"))
    wait(lambda: any((bench.folder / "plugins_registry").iterdir()), "a registration socket")
    more = ("--claims", 40, "--repetitions", 20, "--pods", 0, "--expect-devices", 4)
    wait(
        lambda: bench.kube.list(RESOURCE_SLICES, field_selector=f"spec.nodeName={bench.name}")["items"] != [],
        "slices",
    )
    run = start(bench.measure_command(tmp_path / "out", *more))
    assert run.stdout is not None
    for line in run.stdout:
        if "repetition 1 of" in line:
            break
    run.send_signal(number)
    rest = run.communicate(timeout=90)[0]
    assert run.returncode == 130, rest
    assert "interrupted" in rest
    assert bench.left_in_the_cluster() == []
    found = read_samples(next((tmp_path / "out").glob("*.jsonl")))
    assert found.samples
    assert "interrupted" in found.notes[-1]


def test_a_driver_that_refuses_everything_is_told_in_its_own_words(
    bench: Bench, tmp_path: Path, start: Callable[[list[str]], subprocess.Popen[str]]
) -> None:
    start(bench.driver_command("--refuse"))
    wait(
        lambda: bench.kube.list(RESOURCE_SLICES, field_selector=f"spec.nodeName={bench.name}")["items"] != [],
        "slices",
    )
    done = subprocess.run(
        bench.measure_command(tmp_path / "out", "--claims", 30, "--pods", 0),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 1
    assert "the tray is empty" in done.stderr
    assert "Traceback" not in done.stderr
    assert bench.left_in_the_cluster() == []


def test_a_node_without_the_driver_is_an_error_that_names_what_is_there(bench: Bench, tmp_path: Path) -> None:
    words = bench.measure_command(tmp_path / "out", "--claims", 1, "--driver-command", "sh -c 'exit 3'")
    done = subprocess.run(words, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 1
    assert "the driver ended with status 3" in done.stderr
    assert list((tmp_path / "out").glob("*.jsonl")) == [], "nothing was measured"
