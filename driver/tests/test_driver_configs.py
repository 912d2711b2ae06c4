"""Opaque configs: what is accepted, what is refused and with which words, and which config applies."""

from __future__ import annotations

from typing import Any

import pytest

from claimwright.dra.claims import Claim
from claimwright.driver.configs import (
    GpuConfig,
    MigDeviceConfig,
    VfioDeviceConfig,
    config_for,
    decode,
    offered_by,
)
from claimwright.driver.errors import ClaimRefused, NodeUnusable
from claimwright.driver.feature_gates import DEFAULTS, FeatureGates

OFF = FeatureGates()
ON = FeatureGates.parse("TimeSlicingSettings=true,MPSSupport=true,")
API = "resource.nvidia.com/v1beta1"


def gpu(sharing: dict[str, Any] | None = None, **fields: Any) -> dict[str, Any]:
    block = {} if sharing is None else {"sharing": sharing}
    return {"apiVersion": API, "kind": "GpuConfig", **block, **fields}


def slicing(**config: Any) -> dict[str, Any]:
    return gpu({"strategy": "TimeSlicing", **config})


def mps(**config: Any) -> dict[str, Any]:
    return gpu({"strategy": "MPS", "mpsConfig": config})


@pytest.mark.parametrize(
    ("parameters", "interval"),
    [
        (slicing(), "Default"),
        (slicing(timeSlicingConfig={}), "Default"),
        (slicing(timeSlicingConfig=None), "Default"),
        (slicing(timeSlicingConfig={"interval": None}), "Default"),
        (slicing(timeSlicingConfig={"interval": "Long"}), "Long"),
    ],
    ids=["absent", "empty", "null", "null interval", "given"],
)
def test_a_time_slice_interval_that_is_not_given_is_default(
    parameters: dict[str, Any], interval: str
) -> None:
    config = decode(parameters)

    assert isinstance(config, GpuConfig)
    config.check(ON)
    assert config.sharing is not None
    assert config.sharing.time_slice_interval == interval


@pytest.mark.parametrize(
    "parameters",
    [
        gpu(),
        {"apiVersion": API, "kind": "GpuConfig", "sharing": None},
        mps(),
        mps(
            defaultActiveThreadPercentage=50,
            defaultPinnedDeviceMemoryLimit="10Gi",
            defaultPerDevicePinnedMemoryLimit={"0": "1Gi", "GPU-x": 1048576},
            multiUser=True,
        ),
    ],
    ids=["no sharing", "null sharing", "empty mps", "full mps"],
)
def test_configs_of_the_documentation_are_accepted(parameters: dict[str, Any]) -> None:
    decode(parameters).check(ON)


@pytest.mark.parametrize(
    ("parameters", "says"),
    [
        (gpu(unexpectedField=1), r'strict decoding error: unknown field "unexpectedField"'),
        (slicing(bogus=1), r'strict decoding error: unknown field "sharing\.bogus"'),
        (gpu(a=1, b=2), r'unknown field "a" \(known: sharing\), unknown field "b"'),
        (gpu({"strategy": 7}), r"sharing\.strategy is 7: .*string"),
        (
            gpu({"strategy": "MPS", "mpsConfig": {"multiUser": "yes"}}),
            r"sharing\.mpsConfig\.multiUser is 'yes'",
        ),
        (mps(defaultPinnedDeviceMemoryLimit="ten"), r"defaultPinnedDeviceMemoryLimit is 'ten'"),
        (mps(defaultPinnedDeviceMemoryLimit=True), r"expected a quantity"),
        (
            {"apiVersion": API, "kind": "MigDeviceConfig", "sharing": {"timeSlicingConfig": {}}},
            "timeSlicingConfig",
        ),
        ({"apiVersion": API, "kind": "NoSuchConfig"}, r"kind 'NoSuchConfig', expected one of GpuConfig"),
        ({"apiVersion": API, "kind": ["GpuConfig"]}, r"kind \['GpuConfig'\]"),
        (
            {"apiVersion": "resource.nvidia.com/v2", "kind": "GpuConfig"},
            r"apiVersion 'resource\.nvidia\.com/v2'",
        ),
        ({}, "apiVersion None"),
    ],
)
def test_what_cannot_be_decoded_is_refused_with_field_and_value(
    parameters: dict[str, Any], says: str
) -> None:
    with pytest.raises(ClaimRefused, match=says):
        decode(parameters)


def test_stored_configs_are_decoded_leniently() -> None:
    config = decode(slicing(fromTheFuture={"a": 1}), unknown_fields="ignore")

    assert isinstance(config, GpuConfig)


@pytest.mark.parametrize(
    ("parameters", "gates", "says"),
    [
        (slicing(), OFF, r'"TimeSlicing": feature gate TimeSlicingSettings is not enabled'),
        (mps(), OFF, r'"MPS": feature gate MPSSupport is not enabled'),
        (gpu({"strategy": "Magic"}), ON, r'strategy "Magic", supported: TimeSlicing, MPS'),
        (gpu({}), ON, r'strategy "", supported'),
        (
            slicing(timeSlicingConfig={"interval": "Ages"}),
            ON,
            r'"Ages", supported: Default, Short, Medium, Long',
        ),
        (mps(defaultActiveThreadPercentage=-1), ON, "-1 must not be negative"),
        (mps(defaultActiveThreadPercentage=101), ON, "101 must not be greater than 100"),
        (mps(defaultPinnedDeviceMemoryLimit="1M"), ON, "invalid limit 1M .*set too low"),
        (mps(defaultPerDevicePinnedMemoryLimit={"0": "1k"}), ON, r"invalid limit 1k for .*\[0\]"),
        (slicing(mpsConfig={}), ON, "cannot use MpsConfig with 'TimeSlicing'"),
        (gpu({"strategy": "MPS", "timeSlicingConfig": {}}), ON, "cannot use TimeSlicingConfig with 'MPS'"),
        (
            {
                "apiVersion": API,
                "kind": "MigDeviceConfig",
                "sharing": {"strategy": "TimeSlicing", "mpsConfig": {}},
            },
            ON,
            "cannot use MpsConfig with 'TimeSlicing'",
        ),
        (
            {"apiVersion": API, "kind": "VfioDeviceConfig", "iommu": {"backendPolicy": "Other"}},
            ON,
            r'"Other", supported: LegacyOnly, PreferIommuFD',
        ),
    ],
)
def test_what_makes_no_sense_is_refused_by_name(
    parameters: dict[str, Any], gates: FeatureGates, says: str
) -> None:
    with pytest.raises(ClaimRefused, match=says):
        decode(parameters).check(gates)


@pytest.mark.capability("001-10")
def test_the_vfio_config_of_published_manifests_is_decoded() -> None:
    config = decode(
        {
            "apiVersion": API,
            "kind": "VfioDeviceConfig",
            "iommu": {"backendPolicy": "LegacyOnly", "enableAPIDevice": True},
        }
    )

    assert isinstance(config, VfioDeviceConfig)
    assert config.iommu is not None
    assert config.iommu.enable_api_device is True


def claim(*configs: tuple[str, list[str], dict[str, Any]], request: str = "gpu") -> Claim:
    result = {"request": request, "driver": "gpu.nvidia.com", "pool": "n", "device": "gpu-0"}
    entries = [
        {
            "source": source,
            "requests": requests,
            "opaque": {"driver": "gpu.nvidia.com", "parameters": parameters},
        }
        for source, requests, parameters in configs
    ]
    return Claim.from_object(
        {
            "metadata": {"namespace": "default", "name": "c", "uid": "u"},
            "status": {"allocation": {"devices": {"results": [result], "config": entries}}},
        }
    )


def interval_of(found: Claim) -> str | None:
    config = config_for(found.results[0], GpuConfig, offered_by(found, "gpu.nvidia.com"), ON)
    return None if config is None or config.sharing is None else config.sharing.time_slice_interval


def named(interval: str) -> dict[str, Any]:
    return slicing(timeSlicingConfig={"interval": interval})


MIG = {"apiVersion": API, "kind": "MigDeviceConfig"}


@pytest.mark.capability("002-06")
@pytest.mark.parametrize(
    ("configs", "expected"),
    [
        ((), None),
        ((("FromClass", [], named("Short")),), "Short"),
        ((("FromClaim", [], named("Long")), ("FromClass", [], named("Short"))), "Long"),
        ((("FromClaim", [], named("Short")), ("FromClaim", [], named("Long"))), "Long"),
        ((("FromClaim", ["gpu"], named("Short")), ("FromClaim", ["other"], named("Long"))), "Short"),
        ((("FromClaim", [], named("Short")), ("FromClaim", [], MIG)), "Short"),
    ],
    ids=[
        "none",
        "class",
        "claim over class",
        "later over earlier",
        "own request",
        "other kind is passed over",
    ],
)
def test_the_config_with_the_highest_precedence_applies(configs: Any, expected: str | None) -> None:
    assert interval_of(claim(*configs)) == expected


def test_a_config_for_the_main_request_applies_to_its_subrequests() -> None:
    assert interval_of(claim(("FromClaim", ["gpu"], named("Long")), request="gpu/big")) == "Long"


def test_a_config_of_another_kind_that_names_the_request_is_refused() -> None:
    with pytest.raises(ClaimRefused, match="cannot apply MigDeviceConfig to device gpu-0 of type gpu"):
        interval_of(claim(("FromClaim", ["gpu"], MIG)))


def test_a_bad_config_is_refused_even_if_it_would_not_apply() -> None:
    with pytest.raises(ClaimRefused, match=r'FromClass, other.*unknown field "x"'):
        interval_of(claim(("FromClass", ["other"], gpu(x=1)), ("FromClaim", ["gpu"], named("Long"))))


def test_mig_configs_keep_their_kind() -> None:
    assert isinstance(decode(MIG), MigDeviceConfig)


def test_gates_have_the_defaults_of_the_community_driver() -> None:
    assert dict(FeatureGates.parse("").values) == dict(DEFAULTS)


def test_gates_are_set_singly_and_in_groups() -> None:
    assert FeatureGates.parse("MPSSupport=true,")["MPSSupport"] is True
    assert FeatureGates.parse("AllBeta=false")["ComputeDomainCliques"] is False


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("NoSuchGate=true", "unknown feature gate 'NoSuchGate'; known: ComputeDomainCliques"),
        ("MPSSupport", "expected MPSSupport=true or MPSSupport=false"),
        ("MPSSupport=maybe", "expected MPSSupport=true"),
        ("IMEXDaemonsWithDNSNames=false", "ComputeDomainCliques needs IMEXDaemonsWithDNSNames"),
    ],
)
def test_impossible_gates_are_refused_by_name(text: str, says: str) -> None:
    with pytest.raises(NodeUnusable, match=says):
        FeatureGates.parse(text)


def test_every_gate_may_be_on_at_once() -> None:
    gates = FeatureGates.parse("AllAlpha=true")

    assert all(gates.values.values())
