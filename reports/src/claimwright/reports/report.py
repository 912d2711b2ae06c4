"""From samples to findings: the content of `report.json`, and what the page and the text are drawn from.

Pure: the same samples give the same bytes, whenever and wherever they are rendered.
"""

from __future__ import annotations

import json
import zlib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from claimwright.reports.environment import summary
from claimwright.reports.errors import MixedSeriesError, SamplesError
from claimwright.reports.metrics import Metric, Parameters, metric, registry
from claimwright.reports.samples import Sample, SampleFile
from claimwright.reports.statistics import Interval, bootstrap, enough_samples, quantile, statistic
from claimwright.reports.verdicts import Verdict, judge

SCHEMA = "claimwright.report/v1"


@dataclass(frozen=True, slots=True)
class Estimate:
    """One statistic of a series with its interval, in the metric's unit."""

    statistic: str
    value: float
    interval: Interval | None


@dataclass(frozen=True, slots=True)
class Series:
    """All samples of one (metric, workload, parameters), over all runs."""

    metric: Metric
    workload: str
    parameters: Parameters
    clusters: tuple[tuple[float, ...], ...]
    outcomes: Mapping[str, int]
    runs: int
    resampled: str
    estimates: tuple[Estimate, ...]
    verdicts: tuple[Verdict, ...]

    @property
    def name(self) -> str:
        """The metric's id with its parameters, as printed."""
        inner = ", ".join(f"{key}={value}" for key, value in sorted(self.parameters.items()))
        return f"{self.metric.id}[{inner}]" if inner else self.metric.id

    @property
    def values(self) -> list[float]:
        """All successful samples, sorted."""
        return sorted(value for cluster in self.clusters for value in cluster)

    @property
    def failed(self) -> int:
        """How many events did not end as they should."""
        return sum(count for outcome, count in self.outcomes.items() if outcome != "ok")

    def estimate(self, name: str) -> Estimate | None:
        """Return the estimate of this statistic, if it was computed."""
        return next((estimate for estimate in self.estimates if estimate.statistic == name), None)


@dataclass(frozen=True, slots=True)
class Report:
    """Everything a reader is told."""

    hardware: str
    environments: tuple[Mapping[str, Any], ...]
    series: tuple[Series, ...]
    pods: tuple[Mapping[str, float], ...]
    not_measured: tuple[str, ...]
    notes: tuple[str, ...]

    @property
    def machine(self) -> str:
        """The machine in one line; several are said to be several."""
        named = {summary(environment) for environment in self.environments}
        return named.pop() if len(named) == 1 else f"{len(named)} different machines"


def build(files: Sequence[SampleFile]) -> Report:
    """Gather files into one report; emulated and real hardware never mix."""
    hardware = _one_hardware(files)
    samples = [sample for file in files for sample in file.samples]
    if not samples:
        raise SamplesError(
            f"no samples in {', '.join(str(file.path) for file in files)}: the run was ended before "
            "its first event; "
            "measure again"
        )
    series = tuple(_all_series(samples))
    measured = {entry.metric.id for entry in series}
    return Report(
        hardware=hardware,
        environments=tuple(file.environment for file in files),
        series=series,
        pods=tuple(_pods(samples)),
        not_measured=tuple(identity for identity in registry() if identity not in measured),
        notes=tuple(_notes(files)),
    )


def to_json(report: Report) -> str:
    """Write the report as JSON, in the shipped schema (`schema/report-v1.json`)."""
    return json.dumps(content(report), indent=2, sort_keys=True) + "\n"


def content(report: Report) -> dict[str, Any]:
    """Give the JSON content of the report."""
    return {
        "schema": SCHEMA,
        "hardware": report.hardware,
        "machine": report.machine,
        "quantiles": "Hyndman-Fan 7, exact, over all successful samples",
        "intervals": "95 % percentile bootstrap, hierarchical, seeded",
        "environments": list(report.environments),
        "series": [_series_content(entry) for entry in report.series],
        "not_measured": list(report.not_measured),
        "notes": list(report.notes),
    }


def _series_content(entry: Series) -> dict[str, Any]:
    return {
        "metric": entry.metric.id,
        "workload": entry.workload,
        "parameters": dict(entry.parameters),
        "unit": entry.metric.unit,
        "n": len(entry.values),
        "failed": entry.failed,
        "outcomes": dict(entry.outcomes),
        "runs": entry.runs,
        "resampled": entry.resampled,
        "estimates": {estimate.statistic: asdict(estimate) for estimate in entry.estimates},
        "verdicts": [verdict.content() for verdict in entry.verdicts],
    }


def _one_hardware(files: Sequence[SampleFile]) -> str:
    by_mark: dict[str, list[str]] = {}
    for file in files:
        by_mark.setdefault(file.environment["hardware"], []).append(file.path.name)
    if len(by_mark) > 1:
        listed = "; ".join(f"{mark}: {', '.join(names)}" for mark, names in sorted(by_mark.items()))
        raise MixedSeriesError(
            f"emulated and real hardware do not share a report ({listed}); numbers from an emulated "
            "GPU describe the "
            "driver's software only. Render each kind on its own"
        )
    return next(iter(by_mark))


def _all_series(samples: Iterable[Sample]) -> Iterable[Series]:
    groups: dict[tuple[str, str, tuple[tuple[str, str | int], ...]], list[Sample]] = {}
    for sample in samples:
        key = (sample.metric, sample.workload, tuple(sorted(sample.parameters.items())))
        groups.setdefault(key, []).append(sample)
    order = list(registry())
    # Within a metric, series stay in the order in which they were measured.
    return [_series(group) for key, group in sorted(groups.items(), key=lambda item: order.index(item[0][0]))]


def _series(samples: Sequence[Sample]) -> Series:
    first = samples[0]
    definition = metric(first.metric)
    clusters, runs, resampled = _clusters([sample for sample in samples if sample.ok])
    outcomes = Counter(sample.outcome for sample in samples)
    estimates = _estimates(definition, clusters, seed=_seed(first))
    return Series(
        metric=definition,
        workload=first.workload,
        parameters=first.parameters,
        clusters=clusters,
        outcomes=outcomes,
        runs=runs,
        resampled=resampled,
        estimates=estimates,
        verdicts=tuple(
            judge(
                budget,
                {estimate.statistic: estimate for estimate in estimates},
                failed=len(samples) - outcomes["ok"],
            )
            for budget in definition.budgets
            if budget.covers(first.parameters)
        ),
    )


def _clusters(samples: Sequence[Sample]) -> tuple[tuple[tuple[float, ...], ...], int, str]:
    by_run: dict[str, list[float]] = {}
    by_repetition: dict[tuple[str, int], list[float]] = {}
    for sample in samples:
        by_run.setdefault(sample.run, []).append(sample.amount)
        by_repetition.setdefault((sample.run, sample.repetition), []).append(sample.amount)
    groups, unit = (by_run, "runs") if len(by_run) > 1 else (by_repetition, "repetitions of one run")
    if len(groups) <= 1 or all(len(values) == 1 for values in groups.values()):
        # One number per group: the groups are the samples, and resampling twice would only blur them.
        flat = tuple(value for values in groups.values() for value in values)
        return ((flat,) if flat else ()), len(by_run), "samples"
    return tuple(tuple(values) for values in groups.values()), len(by_run), unit


def _estimates(definition: Metric, clusters: Sequence[Sequence[float]], *, seed: int) -> tuple[Estimate, ...]:
    ordered = sorted(value for cluster in clusters for value in cluster)
    if not ordered:
        return ()
    names = [name for name in definition.statistics if enough_samples(name, len(ordered))]
    names = list(dict.fromkeys([*names, "max"]))
    intervals = bootstrap(clusters, names, seed=seed)
    return tuple(Estimate(name, statistic(name)(ordered), intervals.get(name)) for name in names)


def _seed(sample: Sample) -> int:
    return zlib.crc32(repr((sample.metric, sample.workload, sorted(sample.parameters.items()))).encode())


def _pods(samples: Iterable[Sample]) -> Iterable[dict[str, float]]:
    """Join the phases of each pod that ran, in milliseconds, in the order of measuring."""
    pods: dict[tuple[str, str], dict[str, float]] = {}
    for sample in samples:
        if sample.metric == "L-START" and sample.ok:
            phases = pods.setdefault((sample.run, sample.labels.get("pod", "")), {})
            phases[str(sample.parameters["phase"])] = sample.amount
    return [phases for phases in pods.values() if "total" in phases]


def _notes(files: Sequence[SampleFile]) -> Iterable[str]:
    for file in files:
        if file.torn:
            yield f"{file.path.name}: the last line is torn (a killed run) and left out."
    for label, keys in (
        ("git commit", ("git", "commit")),
        ("kernel", ("machine", "kernel")),
        ("cpu", ("machine", "cpu")),
    ):
        found = {str((file.environment.get(keys[0]) or {}).get(keys[1])) for file in files}
        if len(found) > 1:
            yield f"The runs differ in {label} ({', '.join(sorted(found))}): shown together, not alike."
    for file in files:
        if (file.environment.get("git") or {}).get("dirty"):
            yield f"Run {file.environment['run']} was made from a checkout with uncommitted changes."
        yield from (f"Run {file.environment['run']}: {note}" for note in file.notes)


def median(values: Sequence[float]) -> float:
    """Return the median of unsorted numbers."""
    return quantile(sorted(values), 0.5)
