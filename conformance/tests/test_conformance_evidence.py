"""The bundle: schema, hashes, redaction, and what verify finds."""

from __future__ import annotations

import json
import re
from contextlib import suppress
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest
from hypothesis import given
from hypothesis import strategies as st

from claimwright.conformance.declaration import load_declaration
from claimwright.conformance.errors import UsageError
from claimwright.conformance.evidence import Run, compare_bundles, verify_bundle, write_bundle
from claimwright.conformance.evidence.hashing import bundle_files, write_sums
from claimwright.conformance.evidence.redaction import Redaction
from claimwright.conformance.evidence.schema import schema_faults
from claimwright.conformance.outcomes import Outcome, Verdict
from claimwright.conformance.registry import load_registry
from claimwright.conformance.results import Result

TOKEN = "eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJzeXN0ZW0ifQ.c2lnbmF0dXJl"


def _make(folder: Path, changed: dict[str, Outcome] | None = None) -> Run:
    declaration = Path(__file__).parents[1] / "src/claimwright/conformance/declarations/reference.yaml"
    run = Run("test", load_declaration(declaration), folder / "no-kubeconfig", folder / "bundle")
    run.open_folder()
    results = {one.id: Result.of(one, Outcome.PASS) for one in load_registry().values()}
    for identifier, outcome in (changed or {}).items():
        results[identifier].outcome, results[identifier].reason = (
            outcome,
            f"made {outcome} \x01 <b>by a test</b>",
        )
    evidence = run.folder / "evidence" / "DRA-PREP-001"
    evidence.mkdir(parents=True)
    (evidence / "transcript.jsonl").write_text('{"at": 1}\n')
    results["DRA-PREP-001"].evidence = ["evidence/DRA-PREP-001/transcript.jsonl"]
    write_bundle(run, results)
    return run


def test_a_bundle_is_sound_as_it_is_written(tmp_path):
    assert verify_bundle(_make(tmp_path).folder) == []


@pytest.mark.parametrize("outcome", [one for one in Outcome if one is not Outcome.PASS])
def test_a_bundle_with_any_outcome_is_sound(tmp_path, outcome):
    assert verify_bundle(_make(tmp_path, {"DRA-PREP-002": outcome}).folder) == []


def test_flipping_a_byte_of_any_file_is_found(tmp_path):
    bundle = _make(tmp_path, {"DRA-PREP-002": Outcome.FAIL}).folder
    for name in [*bundle_files(bundle), "SHA256SUMS"]:
        path = bundle / name
        content = path.read_bytes()
        middle = len(content) // 2
        path.write_bytes(content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :])
        with suppress(UsageError):  # a file that is no longer one of its kind is refused at once
            assert verify_bundle(bundle), f"{name} was changed unseen"
        path.write_bytes(content)
    assert verify_bundle(bundle) == []


def test_a_missing_and_an_added_file_are_found(tmp_path):
    bundle = _make(tmp_path).folder
    (bundle / "evidence/extra.txt").write_text("x")
    (bundle / "junit.xml").unlink()
    faults = "\n".join(verify_bundle(bundle))
    assert "evidence/extra.txt: not listed" in faults
    assert "junit.xml: listed in SHA256SUMS, but missing" in faults


def _forge(bundle: Path, change) -> list[str]:
    """Change report.json and hash again, as a forger would."""
    report = json.loads((bundle / "report.json").read_bytes())
    change(report)
    (bundle / "report.json").write_text(json.dumps(report))
    write_sums(bundle)
    return verify_bundle(bundle)


def test_a_forged_verdict_is_found_although_the_hashes_fit(tmp_path):
    bundle = _make(tmp_path, {"DRA-PREP-002": Outcome.FAIL}).folder
    assert any(
        "verdict" in fault for fault in _forge(bundle, lambda report: report.update(verdict="success"))
    )


def test_a_forged_outcome_is_found_by_its_profile_and_junit(tmp_path):
    bundle = _make(tmp_path, {"DRA-PREP-002": Outcome.FAIL}).folder

    def pass_all(report):
        for result in report["results"]:
            result["outcome"] = "pass"

    assert _forge(bundle, pass_all)


def test_a_dropped_requirement_is_found(tmp_path):
    bundle = _make(tmp_path, {"DRA-PREP-002": Outcome.FAIL}).folder
    faults = _forge(bundle, lambda report: report["results"].pop(0))
    assert any("no result for this requirement" in fault for fault in faults)


def test_a_lowered_level_is_found(tmp_path):
    bundle = _make(tmp_path, {"DRA-PREP-002": Outcome.FAIL}).folder

    def lower(report):
        next(one for one in report["results"] if one["id"] == "DRA-PREP-002")["level"] = "SHOULD"

    assert any("level" in fault for fault in _forge(bundle, lower))


def test_evidence_outside_the_bundle_is_found(tmp_path):
    bundle = _make(tmp_path).folder
    (tmp_path / "outside.txt").write_text("x")
    faults = _forge(bundle, lambda report: report["results"][0]["evidence"].append("../outside.txt"))
    assert any("outside.txt" in fault for fault in faults)


def test_an_unredacted_token_is_found(tmp_path):
    bundle = _make(tmp_path).folder
    (bundle / "evidence/DRA-PREP-001/transcript.jsonl").write_text(TOKEN)
    write_sums(bundle)
    assert any("redacted" in fault for fault in verify_bundle(bundle))


@pytest.mark.parametrize("field", ["verdict", "results", "hardware", "leaks"])
def test_the_schema_asks_for_each_field(tmp_path, field):
    report = json.loads((_make(tmp_path).folder / "report.json").read_bytes())
    assert schema_faults(report) == []
    assert schema_faults({key: value for key, value in report.items() if key != field})
    assert schema_faults({**report, "unknown": 1})


def test_the_schema_asks_for_a_reason_of_what_did_not_pass(tmp_path):
    report = json.loads((_make(tmp_path).folder / "report.json").read_bytes())
    report["results"][0]["outcome"] = "not-applicable"
    assert schema_faults(report)


@pytest.mark.parametrize(
    ("text", "secret"),
    [
        (f"x {TOKEN} y", TOKEN),
        ('{"Authorization": "Bearer abc.def"}', "abc.def"),
        ("token: hunter2", "hunter2"),
        ('"client-key-data": "LS0tLS1CRUdJTg=="', "LS0tLS1CRUdJTg=="),
        ('{"serial": {"string": "1650923001"}}', "1650923001"),
        ('"gpu.example.com/serialNumber": "S1"', '"S1"'),
        ("  serial:\n    string: 1650923001\n", "1650923001"),
        ("-----BEGIN RSA PRIVATE KEY-----\nabc\n-----END RSA PRIVATE KEY-----", "abc"),
        ("/home/somebody/driver.yaml", "somebody"),
    ],
)
def test_secrets_are_redacted(text, secret):
    redacted = Redaction((("/home/somebody", "[home]"),)).apply(text)
    assert secret not in redacted


@given(st.text())
def test_redacting_twice_is_redacting_once(text):
    redaction = Redaction((("somehost", "[host]"),))
    once = redaction.apply(text)
    assert redaction.apply(once) == once


def test_junit_names_are_the_ids_and_only_a_pass_is_passed(tmp_path):
    bundle = _make(tmp_path, {"DRA-PREP-002": Outcome.FAIL, "DRA-PREP-003": Outcome.INCONCLUSIVE}).folder
    cases = ET.fromstring((bundle / "junit.xml").read_text()).findall("testcase")
    assert [case.get("name") for case in cases] == list(load_registry())
    kinds = {case.get("name"): [child.tag for child in case] for case in cases}
    assert kinds["DRA-PREP-002"] == ["failure"]
    assert kinds["DRA-PREP-003"] == ["skipped"]
    assert kinds["DRA-PREP-001"] == []


def test_the_page_needs_no_network_and_escapes_what_a_driver_says(tmp_path):
    page = (_make(tmp_path, {"DRA-PREP-002": Outcome.FAIL}).folder / "report.html").read_text()
    assert not re.search(r"(?:src|href)=[\"'](?:https?:)?//|@import|url\(", page)
    assert "<b>by a test</b>" not in page
    assert "Not conformant" in page
    assert "emulated hardware" in page
    assert all(f'id="{identifier}"' in page for identifier in load_registry())


def test_a_leak_is_charged_to_the_requirement_about_leaks(tmp_path):
    run = _make(tmp_path)
    results = {one.id: Result.of(one, Outcome.PASS) for one in load_registry().values()}
    results["DRA-PREP-001"].observations = {"leaks": ["left.json"]}
    report = write_bundle(run, results)
    assert report.verdict is Verdict.FAILURE
    failed = [one.id for one in report.results if one.outcome is Outcome.FAIL]
    assert failed == ["DRA-UNPREP-005"]


def test_what_was_not_run_makes_the_verdict_partial(tmp_path):
    run = _make(tmp_path)
    one = load_registry()["DRA-PREP-001"]
    assert write_bundle(run, {one.id: Result.of(one, Outcome.PASS)}).verdict is Verdict.PARTIAL


def test_a_foreign_folder_is_never_replaced(tmp_path):
    run = _make(tmp_path)
    (run.folder / "thesis.txt").write_text("mine")
    with pytest.raises(UsageError, match=r"thesis\.txt"):
        run.open_folder()
    assert (run.folder / "thesis.txt").read_text() == "mine"


def test_the_difference_names_what_became_worse(tmp_path):
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
    before = _make(tmp_path / "a", {"DRA-CDI-001": Outcome.FAIL}).folder
    after = _make(tmp_path / "b", {"DRA-PREP-002": Outcome.FAIL}).folder
    changes = {change.id: change.worse for change in compare_bundles(before, after)}
    assert changes == {"DRA-CDI-001": False, "DRA-PREP-002": True}
    assert compare_bundles(before, before) == []
