"""Every field of every kind of opaque config, filled with sense and with rubbish."""

from __future__ import annotations

import asyncio
import functools
import json
import types
import typing
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st

from claimwright.dra.claims import Claim
from claimwright.dra.testing import FakeApi
from claimwright.driver.claim_driver import ClaimDriver
from claimwright.driver.configs import KINDS, Config, config_for, decode, keep_duplicates, offered_by, schemas
from claimwright.driver.configs.decoding import Block
from claimwright.driver.errors import ClaimRefused, PrepareFailed
from claimwright.driver.feature_gates import FeatureGates
from claimwright.driver.metrics import Metrics
from claimwright.driver.testing.memory_node import MemoryNode

ALL = FeatureGates.parse("AllAlpha=true")
NONE = FeatureGates.parse("AllAlpha=false")
DOCS = Path(__file__).parents[2] / "docs" / "configs"
kinds = pytest.mark.parametrize("name", KINDS)
LOVED = st.sampled_from(
    ["TimeSlicing", "MPS", "Default", "Short", "Long", "LegacyOnly", "PreferIommuFD", "Single", "All", "10Gi", "1M",
     "1e9", "-5", "", "../../etc", "\ud800", "a" * 9000, "null", "ü\n\x00"]
)  # fmt: skip
TEXTS = LOVED | st.text(max_size=12)
NUMBERS = st.sampled_from([0, -1, 1, 50, 100, 101, 2**31, 2**63, 10**4000, 1.5, 1e308, 10**7]) | st.integers(
    -200, 200
)
SCALARS = st.none() | st.booleans() | NUMBERS | TEXTS
RUBBISH = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=6,
)


def fitting(annotation: Any) -> st.SearchStrategy[Any]:
    """Values of about the right type."""
    options = typing.get_args(annotation)
    origin = typing.get_origin(annotation)
    if origin is typing.Annotated:
        return fitting(options[0])
    if origin in (typing.Union, types.UnionType):
        return st.one_of([fitting(option) for option in options])
    if origin is dict:
        return st.dictionaries(TEXTS, fitting(options[1]), max_size=3)
    if isinstance(annotation, type) and issubclass(annotation, Block):
        return block(annotation)
    known = {bool: st.booleans(), int: NUMBERS, str: TEXTS, Decimal: TEXTS | NUMBERS, type(None): st.none()}
    return known.get(annotation, RUBBISH)


def mostly(usual: st.SearchStrategy[Any], rare: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.sampled_from([usual] * 7 + [rare]).flatmap(lambda chosen: chosen)


def value_of(field: Any) -> st.SearchStrategy[Any]:
    """Values for a field of a model: mostly one that it may have."""
    known = (field.json_schema_extra or {}).get("enum") if isinstance(field.json_schema_extra, dict) else None
    right = fitting(field.annotation)
    return mostly(mostly(st.sampled_from(known), right) if known else right, RUBBISH)


@functools.cache
def block(model: type[Block]) -> st.SearchStrategy[dict[str, Any]]:
    fields = {field.alias or name: value_of(field) for name, field in model.model_fields.items()}
    made = st.fixed_dictionaries({}, optional=fields)
    return mostly(made, st.builds(lambda known, name, value: {**known, name: value}, made, TEXTS, RUBBISH))


def whole(kind: type[Config]) -> st.SearchStrategy[dict[str, Any]]:
    return block(kind).map(lambda fields: {**fields, "apiVersion": kind.api_version, "kind": kind.__name__})


def refusal(call: Any) -> str | None:
    """The text of the one error that is allowed; None when all is well."""
    try:
        call()
    except ClaimRefused as error:
        return str(error)
    return None


def assert_readable(text: str) -> None:
    assert text.encode()  # a lone surrogate would break the gRPC reply
    assert len(text) < 4096
    assert "\n" not in text
    assert "\0" not in text


@kinds
@pytest.mark.capability("000-07")
@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_any_content_is_taken_or_refused_with_one_readable_error(name: str, data: Any) -> None:
    kind = KINDS[name]
    parameters = data.draw(whole(kind))
    for gates in (ALL, NONE):
        text = refusal(lambda gates=gates: decode(parameters, driver=kind.driver).check(gates))  # type: ignore[misc]
        if text is not None:
            assert_readable(text)


@kinds
@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_the_schema_takes_whatever_the_driver_takes(name: str, data: Any) -> None:
    kind = KINDS[name]
    parameters = data.draw(whole(kind))
    if refusal(lambda: decode(parameters, driver=kind.driver).check(ALL)) is None:
        jsonschema.Draft202012Validator(schemas.schema_of(kind)).validate(parameters)


@pytest.mark.parametrize(
    ("parameters", "path"),
    [
        ({"kind": "GpuConfig", "sharing": {"strategy": "Magic"}}, ["sharing"]),
        ({"kind": "GpuConfig", "sharing": {}}, ["sharing"]),
        ({"kind": "GpuConfig", "extra": 1}, []),
        ({"kind": "VfioDeviceConfig", "iommu": {"backendPolicy": "Other"}}, ["iommu"]),
        ({"kind": "ComputeDomainDaemonConfig", "domainID": "../x"}, ["domainID"]),
        ({"kind": "ComputeDomainChannelConfig"}, []),
    ],
)
def test_the_schema_refuses_at_the_place_that_is_wrong(parameters: dict[str, Any], path: list[str]) -> None:
    schema = schemas.schema_of(KINDS[parameters["kind"]])
    with pytest.raises(jsonschema.ValidationError) as caught:
        jsonschema.validate({"apiVersion": "resource.nvidia.com/v1beta1", **parameters}, schema)

    assert list(caught.value.absolute_path)[:1] == path


@settings(max_examples=200, deadline=None)
@given(parameters=st.dictionaries(TEXTS | st.sampled_from(["kind", "apiVersion"]), RUBBISH, max_size=4))
def test_what_is_no_config_at_all_is_refused(parameters: dict[str, Any]) -> None:
    text = refusal(lambda: decode(parameters))

    assert text is not None
    assert_readable(text)


@settings(max_examples=100, deadline=None)
@given(
    configs=st.lists(
        st.tuples(
            st.sampled_from(["FromClass", "FromClaim"]),
            st.lists(st.sampled_from(["gpu", "other", "gpu/sub"]), max_size=2),
            st.one_of([whole(kind) for kind in KINDS.values()]),
        ),
        max_size=3,
    ),
    request=st.sampled_from(["gpu", "gpu/sub"]),
    wanted=st.sampled_from(sorted(KINDS)),
)
def test_choosing_among_configs_never_fails_otherwise(configs: Any, request: str, wanted: str) -> None:
    entries = [
        {"source": source, "requests": requests, "opaque": {"driver": "gpu.nvidia.com", "parameters": each}}
        for source, requests, each in configs
    ]
    result = {"request": request, "driver": "gpu.nvidia.com", "pool": "n", "device": "gpu-0"}
    claim = Claim.from_object(
        {
            "metadata": {"namespace": "default", "name": "c", "uid": "u"},
            "status": {"allocation": {"devices": {"results": [result], "config": entries}}},
        }
    )

    text = refusal(
        lambda: config_for(claim.results[0], KINDS[wanted], offered_by(claim, "gpu.nvidia.com"), ALL)
    )
    if text is not None:
        assert_readable(text)


def test_a_field_that_stands_twice_is_refused() -> None:
    parameters = json.loads(
        '{"apiVersion": "resource.nvidia.com/v1beta1", "kind": "GpuConfig",'
        ' "sharing": {"strategy": "MPS", "strategy": "TimeSlicing"}}',
        object_pairs_hook=keep_duplicates,
    )

    with pytest.raises(ClaimRefused, match=r'strict decoding error: duplicate field "sharing\.strategy"'):
        decode(parameters)
    assert decode(parameters, unknown_fields="ignore").check(ALL) is None


def test_a_config_of_the_other_driver_is_refused() -> None:
    parameters = {
        "apiVersion": "resource.nvidia.com/v1beta1",
        "kind": "ComputeDomainDaemonConfig",
        "domainID": "a",
    }

    assert isinstance(
        decode(parameters, driver="compute-domain.nvidia.com"), KINDS["ComputeDomainDaemonConfig"]
    )
    with pytest.raises(ClaimRefused, match="'ComputeDomainDaemonConfig', expected one of GpuConfig"):
        decode(parameters)


def test_the_published_schemas_are_current() -> None:
    assert schemas.stale(DOCS) == (), "run claimwright driver schemas --output docs/configs"


INTERVALS = st.sampled_from(["Default", "Short", "Medium", "Long"])
SOURCES = st.sampled_from(["FromClass", "FromClaim"])
REQUESTS = st.lists(st.sampled_from(["gpu", "gpu/big", "gpu/small", "other"]), max_size=2, unique=True)


@pytest.mark.capability("002-06")
@settings(max_examples=300, deadline=None)
@given(
    configs=st.lists(st.tuples(SOURCES, REQUESTS, INTERVALS), max_size=5),
    request=st.sampled_from(["gpu", "gpu/big"]),
)
def test_the_last_config_that_is_meant_for_the_request_applies_and_classes_come_first(
    configs: list[tuple[str, list[str], str]], request: str
) -> None:
    entries = [
        {
            "source": source,
            "requests": requests,
            "opaque": {
                "driver": "gpu.nvidia.com",
                "parameters": {
                    "apiVersion": "resource.nvidia.com/v1beta1",
                    "kind": "GpuConfig",
                    "sharing": {"strategy": "TimeSlicing", "timeSlicingConfig": {"interval": interval}},
                },
            },
        }
        for source, requests, interval in configs
    ]
    result = {"request": request, "driver": "gpu.nvidia.com", "pool": "n", "device": "gpu-0"}
    claim = Claim.from_object(
        {
            "metadata": {"namespace": "default", "name": "c", "uid": "u"},
            "status": {"allocation": {"devices": {"results": [result], "config": entries}}},
        }
    )
    ordered = [c for c in configs if c[0] == "FromClass"] + [c for c in configs if c[0] == "FromClaim"]
    meant = [
        interval for _, requests, interval in ordered if not requests or {request, "gpu"} & set(requests)
    ]

    found = config_for(claim.results[0], KINDS["GpuConfig"], offered_by(claim, "gpu.nvidia.com"), ALL)

    interval = None if found is None else found.sharing.time_slice_interval  # type: ignore[attr-defined]
    assert interval == (meant[-1] if meant else None)


FREE = {"GpuConfig": "gpu-3", "MigDeviceConfig": "gpu-0-mig-1g10gb-19-0", "VfioDeviceConfig": "gpu-vfio-3"}


@pytest.mark.slow
@pytest.mark.parametrize("device", FREE.values())
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_a_claim_with_any_config_is_prepared_or_refused_with_one_error_and_leaves_nothing(
    node: MemoryNode, device: str, data: Any
) -> None:
    own = next(name for name, free in FREE.items() if free == device)
    kind = data.draw(mostly(st.just(own), st.sampled_from(sorted(KINDS))))
    parameters = data.draw(whole(KINDS[kind]))
    before = node.world()

    outcome = asyncio.run(prepared_and_released(node, node.claim("fuzzed", device, parameters)))

    assert node.world() == before
    event("refused" if isinstance(outcome, Exception) else "prepared")
    if isinstance(outcome, Exception):
        assert isinstance(outcome, PrepareFailed), repr(outcome)
        assert_readable(str(outcome))
    else:
        assert [each.device for each in outcome] == [device]


async def prepared_and_released(node: MemoryNode, claim: Claim) -> Any:
    """What the kubelet would be told of the claim."""
    started = await node.start()
    driver = ClaimDriver(started.planner, started.machine, Metrics("gpu.nvidia.com", "node-a"))
    try:
        outcome = (await driver.prepare([claim]))[claim.uid]
        assert (await driver.release([claim.reference]))[claim.uid] is None
        return outcome
    finally:
        await started.machine.stop(timeout_seconds=10)


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MemoryNode]:
    with FakeApi() as api:
        yield MemoryNode(tmp_path_factory.mktemp("node"), api)
