"""Exact samples as JSON lines: one event a line, written as it happens, never summarised.

A file belongs to one run. Its first line is the environment of that run, so that a number never travels
without the machine it was taken on. A run that was killed leaves at most one torn line, which is the last
one; a reader drops it and says so. A damaged line anywhere else means that something else wrote there, and
is refused.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Self

from claimwright.reports.errors import SamplesError
from claimwright.reports.metrics import Parameters, metric

SCHEMA = "claimwright.samples/v1"
OK = "ok"

Labels = Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Sample:
    """One event. Either `duration_ns` (duration metrics) or `value` (in the metric's unit) is set."""

    metric: str
    workload: str
    run: str
    repetition: int
    start_ns: int
    duration_ns: int | None = None
    value: float | None = None
    outcome: str = OK
    parameters: Parameters = field(default_factory=dict)
    labels: Labels = field(default_factory=dict)

    @property
    def ok(self) -> bool:
        """Whether the event ended as it should; others are counted and never enter a quantile."""
        return self.outcome == OK

    @property
    def amount(self) -> float:
        """The measured amount in the unit of the metric."""
        if self.value is not None:
            return self.value
        assert self.duration_ns is not None, "checked when it was read or made"
        return self.duration_ns / metric(self.metric).nanoseconds_per_unit


@dataclass(frozen=True, slots=True)
class SampleFile:
    """What one file holds: the environment of its run, its samples, and whether its last line was torn."""

    path: Path
    environment: Mapping[str, Any]
    samples: tuple[Sample, ...]
    notes: tuple[str, ...] = ()
    torn: bool = False


class SampleWriter:
    """Appends events to one run's file; each event is one write, so a kill tears at most the last line."""

    def __init__(self, path: Path, environment: Mapping[str, Any]) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        # O_EXCL: a run id is used once; two runs never interleave in one file.
        self._descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND, 0o644)
        self.path = path
        self.written = 0
        self._line({"schema": SCHEMA, "kind": "environment", "environment": environment})

    def write(self, sample: Sample) -> None:
        """Append one event."""
        metric(sample.metric)
        content = {name: value for name, value in asdict(sample).items() if value is not None}
        self._line({"kind": "sample", **content})
        self.written += 1

    def note(self, text: str) -> None:
        """Append a remark that the report shows: what was left out and why."""
        self._line({"kind": "note", "text": text})

    def close(self) -> None:
        """Make the file durable; called twice, the second call does nothing."""
        if self._descriptor >= 0:
            os.fsync(self._descriptor)
            os.close(self._descriptor)
            self._descriptor = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _line(self, content: Mapping[str, Any]) -> None:
        line = json.dumps(content, separators=(",", ":"), sort_keys=True).encode() + b"\n"
        while line:  # a full disk may write a part and then fail: the reader takes that for a torn line
            line = line[os.write(self._descriptor, line) :]


def read_samples(path: Path) -> SampleFile:
    """Read one file; errors name the file, the line and what was expected."""
    try:
        lines = path.read_bytes().split(b"\n")
    except OSError as error:
        raise SamplesError(f"cannot read samples {path}: {error.strerror}") from error
    torn = lines.pop() != b""
    if not lines:
        raise SamplesError(
            f"{path} holds no complete line; `claimwright report measure` writes the environment "
            "first, then samples"
        )
    environment = _environment(path, lines[0])
    samples: list[Sample] = []
    notes: list[str] = []
    for number, line in enumerate(lines[1:], start=2):
        content = _decode(path, number, line)
        match content.pop("kind", None):
            case "sample":
                samples.append(_sample(path, number, content))
            case "note":
                notes.append(str(content.get("text")))
            case kind:
                raise SamplesError(f"{path}, line {number}: kind {kind!r}, expected 'sample' or 'note'")
    return SampleFile(path, environment, tuple(samples), tuple(notes), torn=torn)


def find_sample_files(paths: Iterable[Path]) -> list[Path]:
    """Resolve files and folders (their `*.jsonl`) to a sorted list; none found is an error."""
    asked = list(paths)
    found: set[Path] = set()
    for path in asked:
        found.update(path.glob("*.jsonl") if path.is_dir() else [path])
    if not found:
        if not asked:
            raise SamplesError("name the samples: files of `claimwright report measure`, or folders of them")
        named = ", ".join(str(path) for path in asked)
        raise SamplesError(
            f"no samples: {named} holds no *.jsonl file; make one with `claimwright report measure "
            "--out DIR …`"
        )
    return sorted(found)


def _decode(path: Path, number: int, line: bytes) -> dict[str, Any]:
    try:
        content = json.loads(line)
    except ValueError as error:
        raise SamplesError(
            f"{path}, line {number}: not a JSON line ({error}); only the last line of a killed run "
            "may be torn. "
            "The file was changed by something else: restore it, or leave it out"
        ) from error
    if not isinstance(content, dict):
        raise SamplesError(f"{path}, line {number}: expected a JSON object, found {type(content).__name__}")
    return content


def _environment(path: Path, line: bytes) -> Mapping[str, Any]:
    content = _decode(path, 1, line)
    if content.get("schema") != SCHEMA:
        raise SamplesError(
            f"{path}: schema {content.get('schema')!r}, expected {SCHEMA!r}; render it with the "
            "version that wrote it"
        )
    environment = content.get("environment")
    if not isinstance(environment, dict) or environment.get("hardware") not in {"emulated", "real"}:
        raise SamplesError(
            f"{path}, line 1: no environment block with hardware 'emulated' or 'real'; measure again"
        )
    return environment


def _sample(path: Path, number: int, content: Mapping[str, Any]) -> Sample:
    try:
        sample = Sample(**content)
    except TypeError as error:
        raise SamplesError(f"{path}, line {number}: {error}") from error
    _check_amount(path, number, sample)
    return sample


def _check_amount(path: Path, number: int, sample: Sample) -> None:
    wanted, other = (
        ("duration_ns", "value") if metric(sample.metric).kind == "duration" else ("value", "duration_ns")
    )
    amount = getattr(sample, wanted)
    if isinstance(amount, bool) or not isinstance(amount, int | float) or getattr(sample, other) is not None:
        raise SamplesError(
            f"{path}, line {number}: {sample.metric} is measured by {wanted} alone, found {amount!r}"
        )
    if not amount >= 0 or amount == float("inf"):
        raise SamplesError(
            f"{path}, line {number}: {wanted} is {amount!r}; an amount is finite and not negative"
        )
