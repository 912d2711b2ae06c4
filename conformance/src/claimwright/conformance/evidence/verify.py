"""Check a bundle again, as somebody who did not make it: hashes, schema, verdict, completeness, redaction."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from xml.etree.ElementTree import ParseError, fromstring

from claimwright.conformance.errors import UsageError
from claimwright.conformance.evidence.bundle import PROFILES, profile_object
from claimwright.conformance.evidence.hashing import bundle_files, file_sum, read_sums
from claimwright.conformance.evidence.redaction import Redaction
from claimwright.conformance.evidence.schema import schema_faults
from claimwright.conformance.outcomes import judge
from claimwright.conformance.registry import load_registry
from claimwright.conformance.results import Result

REQUIRED = ("report.json", "report.html", "junit.xml", "environment.json")


def verify_bundle(bundle: Path) -> list[str]:
    """Return every fault of a bundle in words; an empty list is a sound one. Raises UsageError for no bundle."""
    faults = [*_hash_faults(bundle)]
    report = read_report(bundle)
    faults += schema_faults(report)
    if not any(fault.startswith("report.json: ") for fault in faults):
        faults += [
            *_verdict_faults(report),
            *_evidence_faults(bundle, report),
            *_junit_faults(bundle, report),
        ]
    return [*faults, *_redaction_faults(bundle)]


def read_report(bundle: Path) -> dict[str, Any]:
    """Read report.json of a bundle; raises UsageError when there is none."""
    try:
        report = json.loads((bundle / "report.json").read_bytes())
    except (OSError, ValueError) as error:
        raise UsageError(
            f"{bundle} is no bundle: report.json cannot be read: {getattr(error, 'strerror', None) or error}"
        ) from None
    if not isinstance(report, dict):
        raise UsageError(
            f"{bundle} is no bundle: report.json holds {type(report).__name__}, expected an object"
        )
    return report


def _hash_faults(bundle: Path) -> Iterator[str]:
    sums, there = read_sums(bundle), set(bundle_files(bundle))
    yield from (f"{name}: listed in SHA256SUMS, but missing" for name in sorted(sums.keys() - there))
    yield from (f"{name}: not listed in SHA256SUMS" for name in sorted(there - sums.keys()))
    yield from (f"{name}: every bundle has this file" for name in REQUIRED if name not in there)
    for name in sorted(there & sums.keys()):
        if file_sum(bundle / name) != sums[name]:
            yield f"{name}: changed since it was hashed"


def _verdict_faults(report: Mapping[str, Any]) -> Iterator[str]:
    results = [Result.from_object(one) for one in report["results"]]
    strict = report["run"]["strict"]
    ids = [result.id for result in results]
    yield from (f"{one}: listed {ids.count(one)} times" for one in sorted(set(ids)) if ids.count(one) > 1)
    yield from (
        f"{one}: no result for this requirement of the suite" for one in load_registry() if one not in ids
    )
    for result in results:
        known = load_registry().get(result.id)
        if known is None:
            yield f"{result.id}: unknown to this version of the suite"
        elif known.level is not result.level:
            yield f"{result.id}: level {result.level}, but the registry says {known.level}"
    verdict = judge((result.judgement for result in results), strict=strict)
    if verdict != report["verdict"]:
        yield f"verdict {report['verdict']!r}, but the results make it {verdict.value!r}"
    expected = [profile_object(name, results, strict=strict) for name in PROFILES]
    yield from (
        f"profile {one['name']} does not follow from the results"
        for one in expected
        if one not in report["profiles"]
    )


def _evidence_faults(bundle: Path, report: Mapping[str, Any]) -> Iterator[str]:
    for result in report["results"]:
        for name in result["evidence"]:
            inside = (bundle / name).resolve().is_relative_to(bundle.resolve())
            if not inside or not (bundle / name).is_file():
                yield f"{result['id']}: its evidence {name} is not in the bundle"


def _junit_faults(bundle: Path, report: Mapping[str, Any]) -> Iterator[str]:
    try:
        cases = fromstring((bundle / "junit.xml").read_text(encoding="utf-8")).findall("testcase")  # noqa: S314
    except (OSError, ParseError, UnicodeDecodeError) as error:
        yield f"junit.xml: cannot be read: {error}"
        return
    passed = {case.get("name") for case in cases if len(case) == 0}
    wanted = {one["id"] for one in report["results"] if one["outcome"] == "pass"}
    if {case.get("name") for case in cases} != {one["id"] for one in report["results"]} or passed != wanted:
        yield "junit.xml: its cases are not the results of report.json"


def _redaction_faults(bundle: Path) -> Iterator[str]:
    redaction = Redaction()
    for name in bundle_files(bundle):
        text = (bundle / name).read_text(encoding="utf-8", errors="replace")
        if not name.endswith(".html") and redaction.apply(text) != text:
            yield f"{name}: holds something that has to be redacted (a token, a key or a serial number)"
