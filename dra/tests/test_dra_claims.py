from __future__ import annotations

import copy

import pytest

from claimwright.dra.claims import Claim, ClaimReference, MalformedClaim, UnallocatedClaim, reference_of
from claimwright.dra.testing import allocated_claim

CONFIGS = (
    {"source": "FromClass", "opaque": {"driver": "gpu.example.com", "parameters": {"a": 1}}},
    {
        "source": "FromClaim",
        "requests": ["gpu"],
        "opaque": {"driver": "gpu.example.com", "parameters": {"a": 2}},
    },
    {"source": "FromClaim", "opaque": {"driver": "other.example.com", "parameters": {}}},
)


def claim_object(**more):
    return allocated_claim(
        "claim", "gpu.example.com", [("gpu/big", "node", "gpu-0")], configs=CONFIGS, **more
    )


def test_a_claim_reads_as_the_scheduler_wrote_it():
    claim_of_api = claim_object(uid="u-1", pod_claim_name="gpus")
    claim_of_api["status"]["allocation"]["devices"]["results"][0] |= {
        "shareID": "s-1",
        "consumedCapacity": {"memory": "8Gi"},
        "adminAccess": True,
    }
    claim_of_api["status"]["reservedFor"] = [{"resource": "pods", "name": "p", "uid": "pu"}]

    claim = Claim.from_object(claim_of_api)

    assert claim.reference == ClaimReference("default", "claim", "u-1")
    assert claim.pod_claim_name == "gpus"
    (result,) = claim.results
    assert (result.base_request, result.share_id, result.admin_access) == ("gpu", "s-1", True)
    assert int(result.consumed_capacity["memory"]) == 8 * 2**30
    assert [config.parameters for config in claim.configs_of("gpu.example.com")] == [{"a": 1}, {"a": 2}]
    assert claim.reserved_for[0]["name"] == "p"


def test_a_config_for_a_request_covers_its_subrequests():
    _, config, _ = Claim.from_object(claim_object()).configs
    assert config.applies_to("gpu/big")
    assert not config.applies_to("nic")


def test_results_of_other_drivers_are_left_out():
    assert Claim.from_object(claim_object()).results_of("other.example.com") == ()


def test_a_claim_without_allocation_is_told_apart():
    claim = claim_object()
    del claim["status"]["allocation"]
    with pytest.raises(UnallocatedClaim, match=r"default/claim is not allocated"):
        Claim.from_object(claim)
    assert reference_of(claim).name == "claim"


@pytest.mark.parametrize(
    ("path", "value", "field"),
    [
        (("metadata", "uid"), None, "metadata.uid"),
        (("metadata", "name"), 7, "metadata.name"),
        (("status",), [], "status"),
        (("status", "allocation"), "x", "status.allocation"),
        (("status", "allocation", "devices", "results"), {"a": 1}, r"devices.results"),
        (("status", "allocation", "devices", "results", 0), "x", r"results\[0\]"),
        (("status", "allocation", "devices", "results", 0, "pool"), "", r"results\[0\].pool"),
        (
            ("status", "allocation", "devices", "results", 0, "consumedCapacity"),
            {"m": "x"},
            r"consumedCapacity\[m\]",
        ),
        (("status", "allocation", "devices", "config", 0, "source"), "FromMoon", r"config\[0\].source"),
        (("status", "allocation", "devices", "config", 1, "requests"), "gpu", r"config\[1\].requests"),
        (("status", "allocation", "devices", "config", 0, "opaque"), 3, r"config\[0\].opaque"),
        (("status", "allocation", "devices", "results", 0, "shareID"), 7, r"results\[0\].shareID"),
        (("status", "allocation", "devices", "results", 0, "tolerations"), [3], r"tolerations\[0\]"),
        (("metadata", "annotations"), ["a"], "metadata.annotations"),
        (("metadata", "annotations"), {"resource.kubernetes.io/pod-claim-name": {}}, "pod-claim-name"),
    ],
)
def test_a_malformed_claim_is_refused_by_the_name_of_its_field(path, value, field):
    claim = copy.deepcopy(claim_object())
    parent = claim
    for step in path[:-1]:
        parent = parent[step]
    parent[path[-1]] = value
    with pytest.raises(MalformedClaim, match=field):
        Claim.from_object(claim)
