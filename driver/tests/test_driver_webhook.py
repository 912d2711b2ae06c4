"""The webhook: what is denied and with which words, and a server that nothing can stop or stall."""

from __future__ import annotations

import json
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from claimwright.driver.feature_gates import FeatureGates
from claimwright.driver.webhook import UnreadableReview, review

OFF = FeatureGates()
ON = FeatureGates.parse("TimeSlicingSettings=true,MPSSupport=true")
API = "resource.nvidia.com/v1beta1"
GPU, DOMAIN = "gpu.nvidia.com", "compute-domain.nvidia.com"
PATH = "/validate-resource-claim-parameters"
versions = pytest.mark.parametrize("version", ["v1", "v1beta2", "v1beta1"])
PLACES = {
    "resourceclaims": "spec.devices.config",
    "resourceclaimtemplates": "spec.spec.devices.config",
    "deviceclasses": "spec.config",
}
plurals = pytest.mark.parametrize("plural", PLACES)

SLICING = {"strategy": "TimeSlicing", "timeSlicingConfig": {}}
IOMMU = {"backendPolicy": "LegacyOnly", "enableAPIDevice": True}
GOOD: dict[str, tuple[str, dict[str, Any]]] = {
    "gpu": (GPU, {"kind": "GpuConfig", "sharing": SLICING}),
    "mps": (GPU, {"kind": "GpuConfig", "sharing": {"strategy": "MPS", "mpsConfig": {"multiUser": True}}}),
    "mig": (GPU, {"kind": "MigDeviceConfig"}),
    "vfio": (GPU, {"kind": "VfioDeviceConfig", "iommu": IOMMU}),
    "channel": (
        DOMAIN,
        {"kind": "ComputeDomainChannelConfig", "domainID": "c0ffee", "allocationMode": "All"},
    ),
    "daemon": (DOMAIN, {"kind": "ComputeDomainDaemonConfig", "domainID": "c0ffee"}),
    "somebody else's": ("other.example.com", {"kind": "Anything"}),
}
AGES = {"strategy": "TimeSlicing", "timeSlicingConfig": {"interval": "Ages"}}
TOO_MUCH = {"strategy": "MPS", "mpsConfig": {"defaultActiveThreadPercentage": 101}}
BAD: dict[str, tuple[str, Any, str]] = {
    "unknown field": (
        GPU,
        {"kind": "GpuConfig", "a": 1},
        'strict decoding error: unknown field "a" (known: sharing)',
    ),
    "unknown kind": (GPU, {"kind": "Nope"}, "opaque config has kind 'Nope', expected one of GpuConfig"),
    "other driver's kind": (
        GPU,
        {"kind": "ComputeDomainDaemonConfig", "domainID": "a"},
        "expected one of GpuConfig",
    ),
    "interval": (
        GPU,
        {"kind": "GpuConfig", "sharing": AGES},
        'sharing.timeSlicingConfig.interval: unknown time-slice interval "Ages", supported: Default, Short',
    ),
    "percentage": (
        GPU,
        {"kind": "MigDeviceConfig", "sharing": TOO_MUCH},
        "sharing.mpsConfig.defaultActiveThreadPercentage 101 must not be greater than 100",
    ),
    "policy": (
        GPU,
        {"kind": "VfioDeviceConfig", "iommu": {"backendPolicy": "X"}},
        'iommu.backendPolicy: unknown IOMMU backend policy "X"',
    ),
    "domain": (DOMAIN, {"kind": "ComputeDomainChannelConfig"}, "domainID: domainID cannot be empty"),
    "mode": (
        DOMAIN,
        {"kind": "ComputeDomainChannelConfig", "domainID": "a", "allocationMode": "all"},
        'unknown allocation mode "all", supported: Single, All',
    ),
    "path": (
        DOMAIN,
        {"kind": "ComputeDomainDaemonConfig", "domainID": "../../etc"},
        'domainID: "../../etc" is no uid',
    ),
    "no object": (GPU, 7, "it is 7, expected an object with apiVersion and kind"),
    "nothing": (GPU, None, "it is None, expected an object with apiVersion and kind"),
}


def config(driver: str, parameters: Any) -> dict[str, Any]:
    named = {"apiVersion": API, **parameters} if isinstance(parameters, dict) else parameters
    return {"opaque": {"driver": driver, "parameters": named}}


def holding(plural: str, *configs: Any) -> dict[str, Any]:
    """An object of that kind with the configs in their place."""
    block: Any = list(configs)
    for name in reversed(PLACES[plural].split(".")):
        block = {name: block}
    return {"metadata": {"name": "c"}, **block}


def asked(item: Any, plural: str = "resourceclaims", version: str = "v1", **request: Any) -> bytes:
    resource = {"group": "resource.k8s.io", "version": version, "resource": plural}
    whole = {
        "uid": "u-1",
        "operation": "CREATE",
        "resource": resource,
        "name": "c",
        "namespace": "n",
        "object": item,
    }
    body = {"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": {**whole, **request}}
    return json.dumps(body).encode()


def answered(body: bytes, gates: FeatureGates = ON) -> dict[str, Any]:
    found = review(body, gates)
    assert (found["apiVersion"], found["kind"]) == ("admission.k8s.io/v1", "AdmissionReview")
    assert found["response"]["uid"] == "u-1"
    response: dict[str, Any] = found["response"]
    return response


@versions
@plurals
@pytest.mark.parametrize("good", GOOD)
@pytest.mark.capability("000-07")
def test_good_configs_are_admitted_wherever_they_stand(plural: str, version: str, good: str) -> None:
    assert answered(asked(holding(plural, config(*GOOD[good])), plural, version)) == {
        "uid": "u-1",
        "allowed": True,
    }


@versions
@plurals
@pytest.mark.parametrize("bad", BAD)
def test_bad_configs_are_denied_with_field_and_reason(plural: str, version: str, bad: str) -> None:
    driver, parameters, says = BAD[bad]
    response = answered(
        asked(holding(plural, config(*GOOD["gpu"]), config(driver, parameters)), plural, version)
    )

    where = f"{PLACES[plural]}[1].opaque.parameters"
    assert not response["allowed"]
    assert (response["status"]["reason"], response["status"]["code"]) == ("Invalid", 422)
    assert response["status"]["message"].startswith(
        f"1 configs failed to validate: object at {where} is invalid: "
    )
    assert says in response["status"]["message"]
    assert [cause["field"] for cause in response["status"]["details"]["causes"]] == [where]


def test_every_bad_config_of_an_object_is_named() -> None:
    item = holding("resourceclaims", *(config(driver, parameters) for driver, parameters, _ in BAD.values()))
    message = answered(asked(item))["status"]["message"]

    assert message.startswith(f"{len(BAD)} configs failed to validate: ")
    assert all(says in message for _, _, says in BAD.values())


@plurals
@pytest.mark.parametrize(
    ("strategy", "gate"), [("TimeSlicing", "TimeSlicingSettings"), ("MPS", "MPSSupport")]
)
def test_the_webhooks_own_gates_decide(plural: str, strategy: str, gate: str) -> None:
    item = holding(plural, config(GPU, {"kind": "GpuConfig", "sharing": {"strategy": strategy}}))

    assert answered(asked(item, plural), ON)["allowed"]
    assert f"feature gate {gate} is not enabled" in answered(asked(item, plural), OFF)["status"]["message"]


@plurals
def test_an_update_is_not_held_up_by_what_it_leaves_as_it_was(plural: str) -> None:
    bad, worse = config(GPU, {"kind": "GpuConfig", "a": 1}), config(GPU, {"kind": "GpuConfig", "b": 1})
    stored = holding(plural, bad)
    same = asked(stored, plural, operation="UPDATE", oldObject=stored)
    more = asked(holding(plural, bad, worse), plural, operation="UPDATE", oldObject=stored)

    assert answered(same)["allowed"]
    assert "1 configs failed" in answered(more)["status"]["message"]
    assert 'unknown field "b"' in answered(more)["status"]["message"]


def test_a_field_that_stands_twice_is_denied() -> None:
    body = asked(holding("resourceclaims", config(GPU, {"kind": "GpuConfig", "sharing": None})))
    twice = body.replace(b'"sharing": null', b'"sharing": null, "sharing": {"strategy": "MPS"}')

    assert 'duplicate field "sharing"' in answered(twice)["status"]["message"]


@pytest.mark.parametrize(
    ("request_fields", "says"),
    [
        (
            {"resource": {"group": "resource.k8s.io", "version": "v1", "resource": "pods"}},
            "resource is 'pods' of",
        ),
        (
            {"resource": {"group": "resource.k8s.io", "version": "v9", "resource": "resourceclaims"}},
            "/'v9', expected",
        ),
        ({"resource": None}, "expected one of resourceclaims, resourceclaimtemplates, deviceclasses"),
        ({"object": 7}, "object is 7, expected an object"),
        ({"object": {"spec": []}}, "spec is [], expected an object"),
        ({"object": {"spec": {"devices": {"config": {}}}}}, "spec.devices.config is {}, expected a list"),
        (
            {"object": {"spec": {"devices": {"config": [7]}}}},
            "spec.devices.config[0] is 7, expected an object",
        ),
        ({"object": {"spec": {"devices": {"config": [{"opaque": "x"}]}}}}, "config[0].opaque is 'x'"),
    ],
)
def test_what_is_none_of_the_kinds_is_a_bad_request(request_fields: dict[str, Any], says: str) -> None:
    status = answered(asked(holding("resourceclaims"), **request_fields))["status"]

    assert (status["reason"], status["code"]) == ("BadRequest", 400)
    assert says in status["message"]


@pytest.mark.parametrize(
    ("body", "says"),
    [
        (b"", "no JSON"),
        (b"{", "no JSON"),
        (b"\xff\xfe", "no JSON"),
        (b"[1]", "expected an AdmissionReview"),
        (
            b'{"kind": "AdmissionReview", "apiVersion": "admission.k8s.io/v1beta1"}',
            "'admission.k8s.io/v1beta1'",
        ),
        (b'{"kind": "AdmissionReview", "apiVersion": "admission.k8s.io/v1"}', "request.uid is missing"),
        (asked({}).replace(b'"u-1"', b"7"), "request.uid is missing"),
        (asked({}).replace(b'"u-1"', b"NaN"), "NaN is no JSON value"),
        (b"[" * 200_000, "nested too deeply"),
    ],
)
def test_what_is_no_review_is_unreadable(body: bytes, says: str) -> None:
    with pytest.raises(UnreadableReview, match=says.replace("[", r"\[")):
        review(body, ON)


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)


@settings(max_examples=300, deadline=None)
@given(
    item=JSON
    | st.builds(lambda found: holding("resourceclaims", found), JSON)
    | st.builds(
        lambda driver, found: holding("resourceclaims", config(driver, found)),
        st.sampled_from([GPU, DOMAIN]),
        JSON,
    ),
    fields=st.dictionaries(st.sampled_from(["resource", "operation", "oldObject", "name"]), JSON, max_size=2),
)
def test_any_object_gets_a_verdict(item: Any, fields: dict[str, Any]) -> None:
    response = answered(asked(item, **fields))

    assert isinstance(response["allowed"], bool)
    assert response["allowed"] or response["status"]["message"]
    json.dumps(response).encode()


@settings(max_examples=300, deadline=None)
@given(data=st.data())
def test_any_body_is_answered_or_unreadable(data: Any) -> None:
    whole = asked(holding("resourceclaims", config(*GOOD["gpu"])))
    cut, noise = data.draw(st.integers(0, len(whole))), data.draw(st.binary(max_size=30))
    for body in (noise, whole[:cut] + noise, whole[:cut] + noise + whole[cut:]):
        with suppress(UnreadableReview):
            review(body, ON)
