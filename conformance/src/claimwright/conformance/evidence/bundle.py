"""The bundle of one run: assembled once, redacted, hashed last."""

from __future__ import annotations

import json
import platform
import shutil
import sys
import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

from claimwright.conformance.declaration import Declaration
from claimwright.conformance.errors import UsageError
from claimwright.conformance.evidence.hashing import write_sums
from claimwright.conformance.evidence.html import render_html
from claimwright.conformance.evidence.junit import junit_xml
from claimwright.conformance.evidence.redaction import Redaction, machine_redaction
from claimwright.conformance.outcomes import Outcome, Verdict, judge
from claimwright.conformance.registry import find_requirement, load_registry
from claimwright.conformance.results import Result
from claimwright.dra.files import write_atomically

SCHEMA_VERSION: Final = "1.0"
LEAK_REQUIREMENT: Final = "DRA-UNPREP-005"
_OWN_FILES: Final = ("report.json", "report.html", "junit.xml", "environment.json", "SHA256SUMS", "evidence")
PROFILES: Final[Mapping[str, tuple[str, ...]]] = {
    "DRA-CORE": ("REG", "SLICE", "CLAIM", "PREP", "UNPREP", "CDI", "SEC", "TRUTH"),
    "DRA-SHARING": ("SHARE", "ADMIN"),
    "DRA-OPS": ("OPS", "HEALTH", "META"),
}


@dataclass(frozen=True, slots=True)
class Run:
    """One run's values: who is judged, where, under which name."""

    id: str
    declaration: Declaration
    kubeconfig: Path
    folder: Path
    seed: int = 0
    strict: bool = False
    worker: str = ""
    started: float = field(default_factory=time.time)
    redaction: Redaction = field(default_factory=machine_redaction)

    @property
    def name(self) -> str:
        """Return the name of the run's cluster objects, apart for each worker."""
        return "-".join(filter(None, ["cw-conformance", self.id, self.worker]))

    @property
    def suite_version(self) -> str:
        """Return the version of the installed suite."""
        return version("claimwright-conformance")

    def labels(self, purpose: str) -> dict[str, str]:
        """Return the labels of every object of this run."""
        return {"claimwright.dev/run": self.id, "claimwright.dev/id": purpose}

    def open_folder(self) -> None:
        """Make the bundle's folder; a former bundle is replaced, any other content is left alone."""
        try:
            self._empty_folder()
        except OSError as error:
            said = f"{error.strerror} ({error.filename})"
            raise UsageError(
                f"the bundle cannot be written to {self.folder}: {said}: give another --out"
            ) from None

    def _empty_folder(self) -> None:
        if self.folder.exists():
            strange = sorted(path.name for path in self.folder.iterdir() if path.name not in _OWN_FILES)
            if strange or not self.folder.is_dir():
                raise UsageError(
                    f"{self.folder} is no bundle (it has {', '.join(strange[:3])}): give another --out"
                )
            shutil.rmtree(self.folder)
        self.folder.mkdir(parents=True)

    def explain(self, result: Result) -> list[str]:
        """Return what a reader needs of a result that did not pass."""
        if result.outcome in (Outcome.UNSUPPORTED, Outcome.NOT_APPLICABLE, Outcome.SKIPPED):
            return [result.reason]
        requirement = find_requirement(result.id)
        lines = (
            [f"expected  {result.expected}", f"seen      {result.seen}"]
            if result.expected
            else [result.reason]
        )
        evidence = self.folder / "evidence" / result.id
        return [
            *(line for text in lines for line in text.splitlines()),
            f"spec      {requirement.level}: {'; '.join(requirement.maps_to)}",
            f"evidence  {evidence}",
            f"again     claimwright conformance run DRIVER.yaml --only {result.id}",
        ]


@dataclass(frozen=True, slots=True)
class Report:
    """The verdict and its parts."""

    run: Run
    verdict: Verdict
    results: Sequence[Result]
    leaks: Sequence[Mapping[str, Any]]
    finished: float
    mismatches: Sequence[str] = ()

    def lines(self) -> list[str]:
        """Return the closing lines of a run."""
        counts = Counter(result.outcome.value for result in self.results)
        told = ", ".join(f"{counts[outcome]} {outcome.value}" for outcome in Outcome if counts[outcome])
        failed = [
            f"  {one.level:<6} {one.id}  {one.title}" for one in self.results if one.outcome is Outcome.FAIL
        ]
        label = self.run.declaration.spec.hardware
        return [
            "",
            *failed,
            f"verdict: {self.verdict.value}   ({told}; {self.finished - self.run.started:.1f} s; hardware: {label})",
            *(f"leak: {leak['id']} left {leak['what']}" for leak in self.leaks),
            f"bundle: {self.run.folder}   report: {self.run.folder / 'report.html'}",
        ]

    def as_object(self) -> dict[str, Any]:
        """Return `report.json`, as its schema describes it."""
        run, declaration = self.run, self.run.declaration
        return {
            "schemaVersion": SCHEMA_VERSION,
            "suite": {"name": "claimwright-conformance", "version": run.suite_version},
            "run": {
                "id": run.id, "started": _iso(run.started), "finished": _iso(self.finished), "seed": run.seed,
                "strict": run.strict, "argv": sys.argv[1:],
            },
            "driver": {**declaration.metadata.model_dump(mode="json"), "driver": declaration.spec.driver},
            "hardware": declaration.spec.hardware,
            "features": {"declared": list(declaration.spec.features.supported), "rpc": list(declaration.spec.rpc)},
            "verdict": self.verdict.value,
            "profiles": [profile_object(name, self.results, strict=run.strict) for name in PROFILES],
            "results": [result.as_object() for result in self.results],
            "leaks": [dict(leak) for leak in self.leaks],
        }  # fmt: skip


def write_bundle(run: Run, results: Mapping[str, Result]) -> Report:
    """Judge the results, write every file of the bundle, and hash them."""
    complete = [results.get(identifier) or _not_run(identifier) for identifier in load_registry()]
    leaks = [
        {"id": result.id, "what": f"CDI spec {name}"}
        for result in complete
        for name in result.observations.get("leaks", ())
    ]
    _charge(leaks, complete)
    verdict = judge((result.judgement for result in complete), strict=run.strict)
    report = Report(run, verdict, complete, leaks, time.time())
    content = json.loads(run.redaction.apply(json.dumps(report.as_object())))
    environment = _environment(run)
    _write(run, "report.json", json.dumps(content, indent=2) + "\n")
    _write(run, "environment.json", json.dumps(environment, indent=2) + "\n")
    _write(run, "junit.xml", junit_xml([Result.from_object(one) for one in content["results"]], run.id))
    _write(run, "report.html", render_html(content, environment, run.folder))
    write_sums(run.folder)
    return report


def profile_object(name: str, results: Iterable[Result], *, strict: bool) -> dict[str, Any]:
    """Return one profile's result and statistics."""
    mine = [result for result in results if result.area in PROFILES[name]]
    counts = Counter(result.outcome.value for result in mine)
    verdict = judge((result.judgement for result in mine), strict=strict)
    declared = any(one.outcome not in (Outcome.UNSUPPORTED, Outcome.NOT_APPLICABLE) for one in mine)
    return {"name": name, "result": verdict.value if declared else "unsupported", "statistics": dict(counts)}


def _charge(leaks: Sequence[Mapping[str, Any]], results: Sequence[Result]) -> None:
    """Charge what checks found left behind to the one requirement about it, instead of to each of them."""
    owner = next(result for result in results if result.id == LEAK_REQUIREMENT)
    if leaks and owner.outcome is Outcome.PASS:
        owner.outcome = Outcome.FAIL
        owner.expected = "no CDI spec of a claim of this run after its release"
        owner.seen = "; ".join(f"{leak['id']} left {leak['what']}" for leak in leaks[:5])
        owner.reason = f"expected {owner.expected}; seen {owner.seen}"


def _not_run(identifier: str) -> Result:
    return Result.of(
        find_requirement(identifier), Outcome.SKIPPED, "not selected, or not reached before the end"
    )


def _environment(run: Run) -> dict[str, Any]:
    kubernetes = _server_version(run.kubeconfig)
    return {
        "kubernetes": kubernetes, "kernel": platform.release(), "machine": platform.machine(),
        "python": platform.python_version(), "hardware": run.declaration.spec.hardware,
        "packages": {name: version(name) for name in ("grpcio", "protobuf", "pytest", "pydantic")},
    }  # fmt: skip


def _server_version(kubeconfig: Path) -> str:
    from claimwright.dra.errors import DraError  # noqa: PLC0415 - reports are also rendered offline
    from claimwright.dra.kube import Kube  # noqa: PLC0415

    try:
        return ".".join(map(str, Kube.from_kubeconfig(kubeconfig).server_version()))
    except (DraError, OSError):
        return "unknown"


def _write(run: Run, name: str, text: str) -> None:
    write_atomically(run.folder / name, text.encode(), mode=0o644)


def _iso(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds")
