"""The values that scenarios judge by."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import pytest

from claimwright.e2e.capabilities import catalogue, named_by_tests
from claimwright.e2e.deadlines import DeadlineExceeded, wait_until
from claimwright.e2e.objects import Claim, Pod
from claimwright.e2e.observation import Observation, UnreadableObservation
from claimwright.e2e.probe import build_probe
from claimwright.e2e.scenario import assert_sees_exactly

ONE = "GPU-00000000-0000-0000-0000-000000000001"


def seen(**changes: object) -> Observation:
    answers: dict[str, object] = {
        "nodes": {"0": "ENXIO"},
        "foreign": {"1": "EPERM"},
        "gpus": [{"uuid": ONE, "name": "H100"}],
        "nvml": "0",
        "visible_devices": "void",
    }
    return Observation.parse(json.dumps({**answers, **changes}) + "\n")


def test_exactly_the_allocated_gpu_is_accepted() -> None:
    assert_sees_exactly(seen(), [ONE])


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        pytest.param({"foreign": {"1": "ENXIO"}}, "reachable without a claim", id="a foreign node opens"),
        pytest.param({"foreign": {"1": "mknod-refused"}}, "reachable", id="the probe could not ask"),
        pytest.param({"nodes": {"0": "EPERM"}}, "does not open", id="the positive control fails"),
        pytest.param({"nodes": {"0": "ENXIO", "1": "ENXIO"}}, "device nodes", id="one node too many"),
        pytest.param({"gpus": []}, "NVML lists", id="NVML sees nothing"),
        pytest.param(
            {"gpus": [{"uuid": ONE, "name": ""}, {"uuid": "GPU-2", "name": ""}]},
            "NVML lists",
            id="NVML sees a second GPU",
        ),
    ],
)
def test_a_leak_or_a_broken_probe_is_refused(changes: dict[str, object], complaint: str) -> None:
    with pytest.raises(AssertionError, match=complaint):
        assert_sees_exactly(seen(**changes), [ONE])


@pytest.mark.parametrize("text", ["", "Segmentation fault", "{}", "[1]", '{"nodes": 1, "gpus": []}'])
def test_rubbish_from_the_probe_is_shown_in_the_error(text: str) -> None:
    with pytest.raises(UnreadableObservation, match="expected one JSON object"):
        Observation.parse(text)


@pytest.mark.skipif(shutil.which("gcc") is None, reason="the probe is compiled with gcc, which is not here")
def test_the_probe_prints_one_object_that_can_be_read(tmp_path: Path) -> None:
    program = build_probe(tmp_path)
    (tmp_path / "dev/vfio").mkdir(parents=True)
    for node in ("nvidia3", "vfio/12"):
        (tmp_path / "dev" / node).touch()
    file = tmp_path / "var/run/kubernetes.io/dra-device-attributes/resourceclaims/c/r/d-metadata.json"
    file.parent.mkdir(parents=True)
    file.write_text('{"a":\n"\\n"}\n')

    ended = subprocess.run(
        [program, "--once"],
        env={"PROBE_ROOT": str(tmp_path), "NVIDIA_VISIBLE_DEVICES": "void"},
        capture_output=True,
        text=True,
        check=True,
        timeout=20,
    )

    answer = Observation.parse(ended.stdout)
    assert dict(answer.nodes) == {3: "opened"}
    assert dict(answer.special) == {"/dev/vfio/12": "opened"}
    assert dict(answer.metadata) == {"resourceclaims/c/r/d-metadata.json": file.read_text()}
    assert answer.visible_devices == "void"


def test_a_deadline_tells_what_was_awaited_and_what_was_seen() -> None:
    with pytest.raises(DeadlineExceeded, match=r"the moon did not happen within 0 s; last seen: clouds"):
        wait_until("the moon", lambda: None, seconds=0, seen=lambda: "clouds")


def test_a_pod_names_its_claims_whether_given_or_generated() -> None:
    pod = Pod.from_object(
        {
            "metadata": {"name": "p", "uid": "u"},
            "spec": {
                "resourceClaims": [
                    {"name": "own", "resourceClaimName": "shared"},
                    {"name": "made", "resourceClaimTemplateName": "t"},
                    {"name": "not-yet", "resourceClaimTemplateName": "t"},
                ]
            },
            "status": {
                "phase": "Pending",
                "resourceClaimStatuses": [{"name": "made", "resourceClaimName": "p-made-x"}],
            },
        }
    )

    assert dict(pod.claims) == {"own": "shared", "made": "p-made-x"}


def test_an_unallocated_claim_has_no_devices_and_an_empty_allocation_has_none_either() -> None:
    bare = {"metadata": {"name": "c", "uid": "u"}}

    assert Claim.from_object(bare).devices is None
    assert Claim.from_object({**bare, "status": {"allocation": {"devices": {"results": []}}}}).devices == ()


def test_the_catalogue_of_capabilities_and_the_markers_are_read_alike() -> None:
    table = (
        "| id | capability |\n| --- | --- |\n| 001-01 | GPU by claim | path |\n| 001-02 | slices only | x |\n"
    )

    assert catalogue(table) == {"001-01": "GPU by claim", "001-02": "slices only"}
    assert named_by_tests(['@pytest.mark.capability("001-02")\n@pytest.mark.capability( "000-05")']) == {
        "001-02",
        "000-05",
    }
