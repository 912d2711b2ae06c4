"""Which config applies to which allocated device.

The list is: built-in defaults, configs of the device class, configs of the claim; it is read from the end. A
config that names the request wins and must fit the device; one that names no request is passed over when it
does not fit. A config that names a main request applies to its subrequests, as the API says.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from claimwright.dra.claims import Claim, DeviceResult, OpaqueConfig
from claimwright.driver.configs.decoding import Config, SomeConfig
from claimwright.driver.configs.kinds import decode
from claimwright.driver.errors import ClaimRefused
from claimwright.driver.feature_gates import FeatureGates


@dataclass(frozen=True)
class Offered:
    """A decoded config and the requests it was written for; none means all."""

    origin: OpaqueConfig
    config: Config


def offered_by(claim: Claim, driver: str) -> tuple[Offered, ...]:
    """Decode every config that the claim carries for `driver`, lowest precedence first."""
    ordered = sorted(claim.configs_of(driver), key=lambda config: config.source == "FromClaim")
    return tuple(Offered(config, _decode_of(config)) for config in ordered)


def config_for(
    result: DeviceResult, wanted: type[SomeConfig], offered: Iterable[Offered], gates: FeatureGates
) -> SomeConfig | None:
    """Choose and check the config for a device that takes `wanted` configs; None changes nothing."""
    for candidate in reversed(tuple(offered)):
        if not candidate.origin.applies_to(result.request):
            continue
        config = candidate.config
        if isinstance(config, wanted):
            config.check(gates)
            return config
        if candidate.origin.requests:
            raise ClaimRefused(
                f"cannot apply {type(config).__name__} to device {result.device} of type {wanted.device_type} "
                f"(request {result.request}): it is for devices of type {config.device_type}"
            )
    return None


def _decode_of(config: OpaqueConfig) -> Config:
    try:
        return decode(config.parameters, driver=config.driver)
    except ClaimRefused as error:
        requests = ", ".join(config.requests) or "all requests"
        raise ClaimRefused(f"opaque config ({config.source}, {requests}): {error}") from error
