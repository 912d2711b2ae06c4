"""The tour: a cluster, an emulated node, the driver, the suite's verdict, the scenarios, the report."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from claimwright.cluster import Progress
from claimwright.e2e import deployment
from claimwright.e2e.real import RealWorld, real_world
from claimwright.e2e.scenario import PROBE_IMAGE
from claimwright.e2e.stages import Stages
from claimwright.e2e.standin import StandInWorld, standin_world
from claimwright.emulator import running

SCENARIOS = Path(__file__).parents[3] / "scenarios"
DECLARATION = Path(__file__).with_name("declarations") / f"{deployment.DRIVER}.yaml"
FIRST_SCENARIOS = "claim_template or shared_claim or two_containers or two_claims or driver_restart or rights"
CLAIMWRIGHT = (sys.executable, "-m", "claimwright.cli.main")

DemoWorld = RealWorld | StandInWorld
Part = Callable[[], str]


class PartFailed(Exception):
    """One part of the demo did not succeed; the parts after it still ran."""


@dataclass(frozen=True)
class Results:
    """Where the demo's results are."""

    folder: Path

    def clear(self) -> None:
        """Remove what an earlier demo left: samples of two commits do not belong into one report."""
        for former in (self.bundle, self.samples, self.folder / "allure-results"):
            shutil.rmtree(former, ignore_errors=True)
        self.folder.mkdir(parents=True, exist_ok=True)

    @property
    def bundle(self) -> Path:
        """The suite's evidence."""
        return self.folder / "conformance"

    @property
    def samples(self) -> Path:
        """The measurement's exact samples."""
        return self.folder / "samples"

    @property
    def report(self) -> Path:
        """The page."""
        return self.folder / "report.html"


class RunningWorld:
    """Hands the demo's world to the scenarios, which pytest runs in this very process."""

    def __init__(self, world: DemoWorld, kind: str) -> None:
        self.world = world
        self.kind = kind


def run_demo(results: Results, *, version: str, progress: Progress) -> tuple[Stages, bool]:
    """Run all stages; return them and whether every one succeeded. What was started is gone afterwards."""
    stages = Stages()
    results.clear()
    with ExitStack() as undo:
        folder = Path(undo.enter_context(short_folder()))
        name = f"demo-{uuid.uuid4().hex[:6]}"
        world, kind = _start(stages, undo, folder, name=name, version=version, progress=progress)
        good = [
            _attempt(
                stages, "conformance", "the suite judges the driver", lambda: _judge(world, results, name)
            ),
            _attempt(
                stages, "scenarios", "pods that use GPUs", lambda: _play(RunningWorld(world, kind), results)
            ),
            _attempt(
                stages, "measure", "exact samples of the driver", lambda: _measure(world, results, kind)
            ),
            _attempt(stages, "report", "one page", lambda: _render(results)),
        ]
    return stages, all(good)


@contextmanager
def short_folder() -> Iterator[str]:
    """A folder whose path leaves room for unix sockets below it (108 bytes in all)."""
    with tempfile.TemporaryDirectory(prefix="cw-") as folder:
        yield folder


def _start(
    stages: Stages, undo: ExitStack, folder: Path, *, name: str, version: str, progress: Progress
) -> tuple[DemoWorld, str]:
    world: DemoWorld
    if os.geteuid() == 0:
        with stages.stage(
            "world", "a real Kubernetes with a real node, eight emulated H100, the driver"
        ) as found:
            world = undo.enter_context(real_world(folder, name=name, version=version, progress=progress))
            found.append(f"Kubernetes {world.cluster.kubernetes}, node {world.node_name}, driver registered")
        return world, "real"
    purpose = "not root: a real control plane, a kubelet stand-in, eight emulated H100, the driver"
    with stages.stage("world", purpose) as found:
        world = undo.enter_context(standin_world(folder, name=name, version=version, progress=progress))
        found.append(f"Kubernetes {world.cluster.kubernetes}, stand-in {world.node_name}, driver registered")
    return world, "stand-in"


def _attempt(stages: Stages, name: str, purpose: str, part: Part) -> bool:
    """Run one part as a stage; a failure is told and does not keep the later parts from running."""
    try:
        with stages.stage(name, purpose) as found:
            found.append(part())
    except (PartFailed, AssertionError, OSError, subprocess.SubprocessError) as error:
        print(f"  {error}", file=sys.stderr)
        return False
    return True


def _judge(world: DemoWorld, results: Results, name: str) -> str:
    """Run the suite on a second emulated node, so that it may kill and restart its own driver at will."""
    node = f"{name}-suite"
    emulated = running.up("hgx-h100", name=node)
    try:
        command: list[str | Path] = [
            "conformance",
            "run",
            DECLARATION,
            "--kubeconfig",
            world.cluster.kubeconfig,
            "--out",
            results.bundle,
        ]
        claimwright(*command, environment=emulated.environment, accept=(0, 4))
    finally:
        running.down(node)
    return f"{_verdict(results)}; {results.bundle / 'report.html'}"


def _verdict(results: Results) -> str:
    report = json.loads((results.bundle / "report.json").read_text())
    outcomes = [result["outcome"] for result in report["results"]]
    return f"{outcomes.count('pass')} of {len(outcomes)} requirements pass, {outcomes.count('fail')} fail"


def _play(plugin: RunningWorld, results: Results) -> str:
    allure = results.folder / "allure-results"
    arguments = ["-q", "-p", "no:cacheprovider", "-m", "e2e", "-k", FIRST_SCENARIOS, f"--alluredir={allure}"]
    counter = _Counter()
    root = SCENARIOS.parents[1]
    code = pytest.main(
        [*arguments, "--rootdir", str(root), "-c", str(root / "pyproject.toml"), str(SCENARIOS)],
        plugins=[_named(plugin), counter],
    )
    if code != pytest.ExitCode.OK:
        raise PartFailed(f"pytest ended with {code!r}: {counter.passed} passed, {counter.failed} failed")
    return f"{counter.passed} scenarios pass"


class _Counter:
    """Counts what passed and failed, as a pytest plugin."""

    def __init__(self) -> None:
        self.passed = 0
        self.failed = 0

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Count each test once, in its call phase, and failures of any phase."""
        self.passed += report.when == "call" and report.passed
        self.failed += report.failed


def _named(plugin: RunningWorld) -> object:
    """Wrap the world as a pytest plugin that registers it under the name that the fixtures ask for."""

    class Announce:
        @pytest.hookimpl(tryfirst=True)
        def pytest_configure(self, config: pytest.Config) -> None:
            config.pluginmanager.register(plugin, "claimwright-world")

    return Announce()


def _measure(world: DemoWorld, results: Results, kind: str) -> str:
    if not world.driver.alive:
        world.driver.start()
        world.driver.wait_registered()
    claimwright(
        "report", "measure",
        "--kubeconfig", world.cluster.kubeconfig,
        "--node", world.node_name,
        "--registry-dir", world.registry_dir,
        "--driver-pid", str(world.driver.plugin_pid),
        "--claims", "200", "--repetitions", "5", "--pods", "10",
        "--image", PROBE_IMAGE,
        "--kubelet", kind,
        "--emulated",
        "--out", results.samples,
    )  # fmt: skip
    return str(results.samples)


def _render(results: Results) -> str:
    claimwright("report", "render", results.samples, "--out", results.report)
    return str(results.report)


def claimwright(
    *words: str | Path, environment: dict[str, str] | None = None, accept: tuple[int, ...] = (0,)
) -> None:
    """Run a `claimwright` command as a user would; raises PartFailed for an exit code that is not accepted."""
    command = [*CLAIMWRIGHT, *map(str, words)]
    ended = subprocess.run(command, env={**os.environ, **(environment or {})}, check=False)
    if ended.returncode not in accept:
        raise PartFailed(f"claimwright {' '.join(map(str, words[:2]))} ended with {ended.returncode}")
