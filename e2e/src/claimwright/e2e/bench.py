"""The budgets, measured: the emulator, control plane and node start, and the driver on a real node."""

from __future__ import annotations

import json
import shlex
import statistics
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from typing import Any

import psutil

from claimwright import cluster as clusters
from claimwright.cluster import Progress
from claimwright.e2e.demo import claimwright, short_folder
from claimwright.e2e.figures import Figure
from claimwright.e2e.real import RealWorld, real_world
from claimwright.e2e.scenario import PROBE_IMAGE
from claimwright.e2e.slices_bench import SliceTimes, measure_slices
from claimwright.e2e.stages import Stages

REPOSITORY = Path(__file__).parents[4]
ROUNDS = 3


def run_bench(folder: Path, *, claims: int, progress: Progress) -> list[Figure]:
    """Measure everything; figures and the environment are stored in `folder`. Needs root for the node's part."""
    folder.mkdir(parents=True, exist_ok=True)
    stages = Stages()
    figures: list[Figure] = []
    with stages.stage("emulator", "library, commands, events, files and boots of an emulated node"):
        figures += emulator_figures(_emulator_output(folder))
    with stages.stage("start", f"control plane and node, {ROUNDS} times each, in turn"):
        figures += list(_start_figures(progress))
    with stages.stage(
        "slices", "eight full MIG trees, an XID and a pulled card, until the API server has them"
    ):
        figures += slice_figures(measure_slices())
    with stages.stage("driver", f"{claims} claims, pods and restarts on a real node"):
        report, resident = _measured(folder, claims, progress)
        figures += [resident, *driver_figures(report)]
    written = {"figures": [{**asdict(each), "ratio": each.ratio} for each in figures], "report": report}
    (folder / "bench.json").write_text(json.dumps(written, indent=1))
    return figures


def slice_figures(times: SliceTimes) -> list[Figure]:
    """Read what `measure_slices` found."""
    return [
        Figure(f"driver start until {times.devices} devices are visible, median", times.start, 2.0, "s"),
        Figure("driver memory, idle, eight full MIG trees", times.resident, 60.0, "MB"),
        Figure("XID until its taint is in the slices, median", times.taint, 1.0, "s"),
        Figure("card pulled until its devices are gone, median", times.pulled, 4.0, "s"),
    ]


def _emulator_output(folder: Path) -> str:
    script, said = REPOSITORY / "emulator/bench/budgets.py", folder / "emulator.json"
    subprocess.run([sys.executable, script, "--json", said], check=True, timeout=900)
    return said.read_text()


def emulator_figures(said: str) -> list[Figure]:
    """Read what `emulator/bench/budgets.py --json` stores."""
    return [
        Figure(each["what"], each["value"], each["budget"], each["unit"])
        for each in json.loads(said)["figures"]
    ]


def _start_figures(progress: Progress) -> Iterator[Figure]:
    """Time `up` with no node and with one, in turn, so that both see the same machine."""
    seconds: dict[int, list[float]] = {0: [], 1: []}
    for number in range(ROUNDS):
        for nodes, times in seconds.items():
            spec = clusters.ClusterSpec(name=f"bench-{uuid.uuid4().hex[:6]}", nodes=nodes)
            started = time.monotonic()
            clusters.up(spec, progress=progress)
            times.append(time.monotonic() - started)
            clusters.down(spec.name)
        progress.note(f"start, round {number + 1} of {ROUNDS} done")
    plane, node = (statistics.median(times) for times in seconds.values())
    yield Figure("control plane ready, warm, median", plane, 6.0, "s")
    yield Figure("control plane and one node Ready, median", node, 18.0, "s")


def _measured(folder: Path, claims: int, progress: Progress) -> tuple[dict[str, Any], Figure]:
    """Measure on a real node; the plugin's own memory comes apart from the program that enters the node for it."""
    with ExitStack() as undo:
        short = Path(undo.enter_context(short_folder()))
        world = undo.enter_context(real_world(short, name=f"bench-{uuid.uuid4().hex[:6]}", progress=progress))
        resident_bytes = psutil.Process(world.driver.plugin_pid).memory_info().rss
        world.driver.stop()
        samples = folder / "samples"
        _measure(world, samples, claims)
        claimwright("report", "render", samples, "--out", folder / "report.html")
    report: dict[str, Any] = json.loads((folder / "report.json").read_text())
    return report, Figure("driver memory, idle, 8 GPUs", resident_bytes / 1e6, 60.0, "MB")


def _measure(world: RealWorld, samples: Path, claims: int) -> None:
    """Let the measurement start the driver itself, so that the time until its slices are visible counts too."""
    claimwright(
        "report", "measure",
        "--kubeconfig", world.cluster.kubeconfig,
        "--node", world.node_name,
        "--registry-dir", world.registry_dir,
        "--driver-command", shlex.join(world.driver.argv),
        "--claims", str(claims), "--repetitions", "5", "--pods", "24", "--expect-devices", "8",
        "--image", PROBE_IMAGE,
        "--kubelet", "real",
        "--emulated",
        "--out", samples,
    )  # fmt: skip


def driver_figures(report: dict[str, Any]) -> list[Figure]:
    """Read every judged value of a `report.json`."""
    return [
        Figure(
            f"{series['metric']} {_parameters(series['parameters'])} {verdict['judged_by']}".replace(
                "  ", " "
            ),
            verdict["value"],
            verdict["budget"],
            series["unit"],
            at_most=verdict["sense"] == "at most",
        )
        for series in report["series"]
        if series["metric"] != "R-MEM"  # of two processes here: the plugin, and what entered the node for it
        for verdict in series["verdicts"]
    ]


def _parameters(parameters: dict[str, Any]) -> str:
    return " ".join(f"{name}={value}" for name, value in sorted(parameters.items()))
