"""Allocated ResourceClaims as values (resource.k8s.io/v1)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Literal, NewType

from claimwright.dra.errors import DraError
from claimwright.dra.quantities import MalformedQuantity, Quantity

ClaimUid = NewType("ClaimUid", str)
DriverName = NewType("DriverName", str)
PoolName = NewType("PoolName", str)
DeviceName = NewType("DeviceName", str)
ConfigSource = Literal["FromClass", "FromClaim"]

# Set by the resource claim controller on claims that it makes from a template.
POD_CLAIM_NAME_ANNOTATION: Final = "resource.kubernetes.io/pod-claim-name"


class ClaimError(DraError):
    """A claim that cannot be prepared as it is."""


class MalformedClaim(ClaimError):
    """A claim whose object breaks the API's shape; the message names the field."""


class UnallocatedClaim(ClaimError):
    """A claim without `status.allocation`: nothing was given to it yet."""


@dataclass(frozen=True, slots=True)
class ClaimReference:
    """Which claim: the three fields that the kubelet sends."""

    namespace: str
    name: str
    uid: ClaimUid

    def __str__(self) -> str:
        return f"{self.namespace}/{self.name}"


@dataclass(frozen=True, slots=True)
class DeviceResult:
    """One device that the scheduler allocated for one request (`status.allocation.devices.results[]`)."""

    request: str
    driver: DriverName
    pool: PoolName
    device: DeviceName
    admin_access: bool = False
    share_id: str | None = None
    consumed_capacity: Mapping[str, Quantity] = field(default_factory=dict)
    tolerations: tuple[Mapping[str, Any], ...] = ()
    binding_conditions: tuple[str, ...] = ()
    binding_failure_conditions: tuple[str, ...] = ()

    @property
    def base_request(self) -> str:
        """The request's own name, without the subrequest of a prioritized list: `gpu/big` is `gpu`."""
        return self.request.partition("/")[0]


@dataclass(frozen=True, slots=True)
class OpaqueConfig:
    """Parameters for one driver; no `requests` means all requests of the claim."""

    source: ConfigSource
    requests: tuple[str, ...]
    driver: DriverName
    parameters: Mapping[str, Any]

    def applies_to(self, request: str) -> bool:
        """Say whether it is meant for `request`, given as `name` or `name/subrequest`."""
        return not self.requests or request in self.requests or request.partition("/")[0] in self.requests


@dataclass(frozen=True, slots=True)
class Claim:
    """An allocated claim. Configs keep the API's order: of the class first, then of the claim."""

    reference: ClaimReference
    results: tuple[DeviceResult, ...]
    configs: tuple[OpaqueConfig, ...] = ()
    pod_claim_name: str | None = None
    reserved_for: tuple[Mapping[str, Any], ...] = ()
    raw: Mapping[str, Any] = field(default_factory=dict, repr=False, compare=False)

    @classmethod
    def from_object(cls, claim: Mapping[str, Any]) -> Claim:
        """Read a ResourceClaim object; raises MalformedClaim or UnallocatedClaim."""
        reference = reference_of(claim)
        reader = _Reader(str(reference))
        status = reader.mapping(claim, "status")
        devices = reader.mapping(_allocation(reference, status), "devices", "status.allocation")
        at = "status.allocation.devices"
        return cls(
            reference=reference,
            results=tuple(
                _result(reader, item, where) for item, where in reader.items(devices, "results", at)
            ),
            configs=tuple(
                _config(reader, item, where) for item, where in reader.items(devices, "config", at)
            ),
            pod_claim_name=_pod_claim_name(reader, reader.mapping(claim, "metadata")),
            reserved_for=tuple(item for item, _ in reader.items(status, "reservedFor", "status")),
            raw=claim,
        )

    @property
    def uid(self) -> ClaimUid:
        """The claim's uid."""
        return self.reference.uid

    def results_of(self, driver: str) -> tuple[DeviceResult, ...]:
        """Give the allocated devices of one driver, in the allocation's order."""
        return tuple(result for result in self.results if result.driver == driver)

    def configs_of(self, driver: str) -> tuple[OpaqueConfig, ...]:
        """Give the opaque configs of one driver; later ones take precedence."""
        return tuple(config for config in self.configs if config.driver == driver)


def reference_of(claim: Mapping[str, Any]) -> ClaimReference:
    """Read namespace, name and uid of any claim object, allocated or not; raises MalformedClaim."""
    reader = _Reader("ResourceClaim")
    metadata = reader.mapping(claim, "metadata")
    namespace, name, uid = (reader.text(metadata, key, "metadata") for key in ("namespace", "name", "uid"))
    return ClaimReference(namespace, name, ClaimUid(uid))


def _allocation(reference: ClaimReference, status: Mapping[str, Any]) -> Mapping[str, Any]:
    allocation = status.get("allocation")
    if allocation is None:
        raise UnallocatedClaim(f"claim {reference} is not allocated: status.allocation is missing")
    if not isinstance(allocation, Mapping):
        raise MalformedClaim(f"claim {reference}: status.allocation is {allocation!r}, expected an object")
    return allocation


def _pod_claim_name(reader: _Reader, metadata: Mapping[str, Any]) -> str | None:
    annotations = reader.mapping(metadata, "annotations", "metadata")
    if annotations.get(POD_CLAIM_NAME_ANNOTATION) is None:
        return None
    return reader.text(annotations, POD_CLAIM_NAME_ANNOTATION, "metadata.annotations")


def _result(reader: _Reader, item: Mapping[str, Any], at: str) -> DeviceResult:
    return DeviceResult(
        request=reader.text(item, "request", at),
        driver=DriverName(reader.text(item, "driver", at)),
        pool=PoolName(reader.text(item, "pool", at)),
        device=DeviceName(reader.text(item, "device", at)),
        admin_access=bool(item.get("adminAccess")),
        share_id=None if item.get("shareID") is None else reader.text(item, "shareID", at),
        consumed_capacity=reader.quantities(item, "consumedCapacity", at),
        tolerations=tuple(toleration for toleration, _ in reader.items(item, "tolerations", at)),
        binding_conditions=reader.texts(item, "bindingConditions", at),
        binding_failure_conditions=reader.texts(item, "bindingFailureConditions", at),
    )


def _config(reader: _Reader, item: Mapping[str, Any], at: str) -> OpaqueConfig:
    source = reader.text(item, "source", at)
    if source not in ("FromClass", "FromClaim"):
        raise reader.error(f"{at}.source", source, "FromClass or FromClaim")
    opaque = reader.mapping(item, "opaque", at)
    return OpaqueConfig(
        source="FromClass" if source == "FromClass" else "FromClaim",
        requests=reader.texts(item, "requests", at),
        driver=DriverName(reader.text(opaque, "driver", f"{at}.opaque")),
        parameters=reader.mapping(opaque, "parameters", f"{at}.opaque"),
    )


@dataclass(frozen=True, slots=True)
class _Reader:
    """Reads fields of one claim; every complaint names the claim, the field and the value."""

    claim: str

    def error(self, field: str, value: object, expected: str) -> MalformedClaim:
        return MalformedClaim(f"claim {self.claim}: {field} is {value!r}, expected {expected}")

    def mapping(self, parent: Mapping[str, Any], key: str, at: str = "") -> Mapping[str, Any]:
        value = parent.get(key)
        if value is None:
            return {}
        if not isinstance(value, Mapping):
            raise self.error(f"{at}.{key}".lstrip("."), value, "an object")
        return value

    def text(self, parent: Mapping[str, Any], key: str, at: str) -> str:
        value = parent.get(key)
        if not isinstance(value, str) or not value:
            raise self.error(f"{at}.{key}", value, "a name")
        return value

    def texts(self, parent: Mapping[str, Any], key: str, at: str) -> tuple[str, ...]:
        value = parent.get(key) or ()
        if (
            isinstance(value, str)
            or not isinstance(value, Sequence)
            or not all(isinstance(v, str) for v in value)
        ):
            raise self.error(f"{at}.{key}", value, "a list of names")
        return tuple(value)

    def items(self, parent: Mapping[str, Any], key: str, at: str) -> list[tuple[Mapping[str, Any], str]]:
        value = parent.get(key) or ()
        if isinstance(value, str) or not isinstance(value, Sequence):
            raise self.error(f"{at}.{key}", value, "a list")
        found = []
        for index, item in enumerate(value):
            if not isinstance(item, Mapping):
                raise self.error(f"{at}.{key}[{index}]", item, "an object")
            found.append((item, f"{at}.{key}[{index}]"))
        return found

    def quantities(self, parent: Mapping[str, Any], key: str, at: str) -> Mapping[str, Quantity]:
        found = {}
        for name, text in self.mapping(parent, key, at).items():
            try:
                found[name] = Quantity.parse(str(text))
            except MalformedQuantity as error:
                raise self.error(f"{at}.{key}[{name}]", text, "a quantity") from error
        return found
