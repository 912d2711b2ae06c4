"""A realistic run, made up from seeded distributions: what the renderer and the report are tested with."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from claimwright.reports import environment
from claimwright.reports.samples import Sample, SampleWriter

PHASES = {
    "create_to_claim": 28.0,
    "claim_to_allocated": 45.0,
    "allocated_to_scheduled": 14.0,
    "scheduled_to_sandbox": 640.0,
    "sandbox_to_running": 310.0,
}


def made_up_samples(run: str, *, seed: int = 7, prepares: int = 1200, pods: int = 40) -> Iterator[Sample]:
    """Yield samples shaped like those of a quick driver on a small machine."""
    rng = random.Random(seed)
    for load, in_flight, middle in (("serial", 1, 1.35), ("parallel", 8, 9.0), ("open", 1, 1.6)):
        parameters: dict[str, str | int] = {"load": load, "in_flight": in_flight}
        for index in range(prepares):
            slow = 3.2 if rng.random() < 0.02 else 1.0
            for metric, factor in (("L-PREP-K", 1.0), ("L-UNPREP-K", 0.7)):
                failed = metric == "L-PREP-K" and load == "open" and index in {17, 800}
                yield Sample(
                    metric=metric,
                    workload="prepare/v1",
                    run=run,
                    repetition=index * 5 // prepares,
                    start_ns=index * 1_000_000,
                    duration_ns=int(middle * factor * slow * rng.lognormvariate(0, 0.22) * 1e6),
                    outcome="error" if failed else "ok",
                    parameters=parameters,
                )
        for repetition in range(5):
            if load != "open":
                yield Sample(
                    "T-PREP",
                    "prepare/v1",
                    run,
                    repetition,
                    0,
                    value=rng.gauss(520, 14),
                    parameters=parameters,
                )
    for repetition in range(5):
        yield Sample(
            "L-PUB",
            "publish/v1",
            run,
            repetition,
            0,
            duration_ns=int(rng.gauss(0.84, 0.05) * 1e9),
            parameters={"devices": 8},
        )
    for index in range(pods):
        total = 0
        for phase, middle in PHASES.items():
            duration = int(middle * rng.lognormvariate(0, 0.3) * 1e6)
            total += duration
            yield _phase(run, index, phase, duration)
        yield _phase(run, index, "total", total)
    yield Sample("R-MEM", "process/v1", run, 0, 0, value=47.3, parameters={"moment": "idle"})
    yield Sample("R-MEM", "process/v1", run, 0, 0, value=63.8, parameters={"moment": "after"})
    yield Sample("R-CPU", "process/v1", run, 0, 0, value=1.42, parameters={"moment": "prepare"})


def _phase(run: str, index: int, phase: str, duration_ns: int) -> Sample:
    return Sample(
        "L-START",
        "pod-start/v1",
        run,
        index // 8,
        0,
        duration_ns=duration_ns,
        parameters={"phase": phase, "kubelet": "real"},
        labels={"pod": f"pod-{index}"},
    )


@pytest.fixture(scope="session")
def block(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """An environment block of this machine, marked emulated."""
    return environment.capture(
        hardware="emulated",
        run="20261121t100000-abcd",
        state_dir=tmp_path_factory.mktemp("state"),
        command=["claimwright", "report", "measure", "--node", "node-0", "--emulated"],
        settings={"claims": 1200, "repetitions": 5, "warm_up": 50},
        target={"kubernetes": "v1.37.1", "driver": "gpu.nvidia.com", "node": "node-0"},
    )


@pytest.fixture
def write_run(tmp_path: Path, block: dict[str, Any]) -> Callable[..., Path]:
    """Write a made-up run to a file and return its path."""

    def write(run: str = "run-a", *, hardware: str = "emulated", **shape: int) -> Path:
        path = tmp_path / "samples" / f"{run}.jsonl"
        with SampleWriter(path, {**block, "run": run, "hardware": hardware}) as writer:
            for sample in made_up_samples(run, **shape):
                writer.write(sample)
        return path

    return write


@pytest.fixture(scope="session")
def samples_of() -> Callable[..., Iterator[Sample]]:
    """Make the samples of a made-up run, for fixtures of a wider scope than a test."""
    return made_up_samples
