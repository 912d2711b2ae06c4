from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from claimwright.reports.errors import SamplesError, UnknownMetricError
from claimwright.reports.samples import SCHEMA, Sample, SampleWriter, find_sample_files, read_samples

ENVIRONMENT = {"hardware": "emulated", "run": "r"}


def prepare(duration_ns: int, **more: Any) -> Sample:
    return Sample("L-PREP-K", "prepare/v1", "r", 0, 5, duration_ns=duration_ns, **more)


def lines_of(*content: object) -> bytes:
    return b"".join(json.dumps(line).encode() + b"\n" for line in content)


HEAD = {"schema": SCHEMA, "kind": "environment", "environment": ENVIRONMENT}
BODY = {
    "kind": "sample",
    "metric": "L-PREP-K",
    "workload": "prepare/v1",
    "run": "r",
    "repetition": 0,
    "start_ns": 5,
    "duration_ns": 7,
    "outcome": "ok",
    "parameters": {},
    "labels": {},
}


def test_what_was_written_is_read_again(tmp_path: Path) -> None:
    samples = [
        prepare(1_500_000, parameters={"load": "serial"}, labels={"message": "a \n \u2028 b"}),
        prepare(0, outcome="timeout"),
        Sample("R-MEM", "process/v1", "r", 0, 9, value=41.5, parameters={"moment": "idle"}),
    ]
    with SampleWriter(tmp_path / "r.jsonl", ENVIRONMENT) as writer:
        for sample in samples:
            writer.write(sample)
        writer.note("left out")
    found = read_samples(tmp_path / "r.jsonl")
    assert list(found.samples) == samples
    assert (found.environment, found.notes, found.torn) == (ENVIRONMENT, ("left out",), False)
    assert [sample.amount for sample in found.samples] == [1.5, 0, 41.5]


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(cut=st.integers(1, 400))
def test_a_file_torn_at_any_byte_keeps_its_whole_lines(tmp_path: Path, cut: int) -> None:
    whole = lines_of(HEAD, BODY, {**BODY, "duration_ns": 8})
    path = tmp_path / "torn.jsonl"
    path.write_bytes(whole[: len(whole) - min(cut, len(whole) - len(lines_of(HEAD)))])
    found = read_samples(path)
    complete = path.read_bytes().count(b"\n") - 1
    assert [sample.duration_ns for sample in found.samples] == [7, 8][:complete]
    assert found.torn is not path.read_bytes().endswith(b"\n")


def test_a_damaged_line_in_the_middle_is_refused_by_its_number(tmp_path: Path) -> None:
    path = tmp_path / "bad.jsonl"
    path.write_bytes(lines_of(HEAD) + b'{"kind": "sam\n' + lines_of(BODY))
    with pytest.raises(SamplesError, match=r"bad.jsonl, line 2: not a JSON line"):
        read_samples(path)


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"", "no complete line"),
        (b'{"schema"', "no complete line"),
        (lines_of({**HEAD, "schema": "claimwright.samples/v9"}), "'claimwright.samples/v9', expected"),
        (lines_of({"hello": 1}), "schema None"),
        (lines_of([1, 2]), "expected a JSON object, found list"),
        (lines_of({**HEAD, "environment": {"hardware": "imaginary"}}), "'emulated' or 'real'"),
        (lines_of(HEAD, {**BODY, "kind": "other"}), "kind 'other'"),
        (lines_of(HEAD, {**BODY, "colour": "red"}), "colour"),
        (lines_of(HEAD, {**BODY, "duration_ns": "7"}), "'7'"),
        (lines_of(HEAD, {**BODY, "duration_ns": -1}), "-1"),
        (lines_of(HEAD, {**BODY, "duration_ns": True}), "True"),
        (lines_of(HEAD, {**BODY, "value": 3.0}), "duration_ns alone"),
        (lines_of(HEAD, {**BODY, "metric": "R-MEM"}), "R-MEM is measured by value alone"),
        (lines_of(HEAD, {**BODY, "metric": "R-MEM", "duration_ns": None, "value": float("nan")}), "nan"),
        (lines_of(HEAD, b"x".decode()), "expected a JSON object, found str"),
    ],
    ids=range(15),
)
def test_rubbish_is_refused_with_what_was_found(tmp_path: Path, content: bytes, told: str) -> None:
    path = tmp_path / "rubbish.jsonl"
    path.write_bytes(content)
    with pytest.raises(SamplesError, match=told):
        read_samples(path)


def test_an_unknown_metric_names_the_known_ones(tmp_path: Path) -> None:
    path = tmp_path / "new.jsonl"
    path.write_bytes(lines_of(HEAD, {**BODY, "metric": "L-NEW"}))
    with pytest.raises(UnknownMetricError, match=r"'L-NEW'.*L-PREP-K"):
        read_samples(path)


def test_a_run_never_writes_into_the_file_of_another(tmp_path: Path) -> None:
    with SampleWriter(tmp_path / "r.jsonl", ENVIRONMENT) as writer:
        writer.write(prepare(1))
    with pytest.raises(FileExistsError):
        SampleWriter(tmp_path / "r.jsonl", ENVIRONMENT)
    assert len(read_samples(tmp_path / "r.jsonl").samples) == 1


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(SamplesError, match=r"nowhere\.jsonl: No such file"):
        read_samples(tmp_path / "nowhere.jsonl")


def test_folders_give_their_files_once(tmp_path: Path, write_run: Callable[..., Path]) -> None:
    first, second = write_run("a", prepares=5, pods=1), write_run("b", prepares=5, pods=1)
    assert find_sample_files([first.parent, second, first]) == [first, second]


def test_an_empty_folder_says_how_to_get_samples(tmp_path: Path) -> None:
    with pytest.raises(SamplesError, match="claimwright report measure"):
        find_sample_files([tmp_path])
