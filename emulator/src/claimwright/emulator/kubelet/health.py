"""Device health as drivers report it, and its form in pod status (KEP-4680).

Rules (KEP-4680, and the kubelet's DRA manager): each report is the driver's complete list; a device missing
from it turns Unknown only after its timeout; so does one that was not reported again in time; a stream that
ends clears the driver.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace

from claimwright.dra.prepared import DeviceHealth, Health, PreparedDevice
from claimwright.emulator.kubelet.claim_state import ClaimState
from claimwright.emulator.kubelet.pods import ContainerSpec, JsonObject

MESSAGE_LIMIT = 1024


@dataclass(frozen=True)
class _Known:
    report: DeviceHealth
    received: float


class HealthCache:
    """The last word of each driver about each of its devices."""

    def __init__(self, monotonic: Callable[[], float], *, default_timeout: float = 30.0) -> None:
        self._monotonic = monotonic
        self._default_timeout = default_timeout
        self._drivers: dict[str, dict[tuple[str, str], _Known]] = {}

    def report(self, driver: str, reports: Iterable[DeviceHealth]) -> bool:
        """Take a driver's complete list; tell whether anything that pods show has changed."""
        known = self._drivers.setdefault(driver, {})
        changed = False
        for report in reports:
            key = (report.pool, report.device)
            shown = _shorten(report)
            changed |= self.of(driver, *key) != (shown.health, shown.message)
            known[key] = _Known(shown, self._monotonic())
        return changed

    def clear(self, driver: str) -> bool:
        """Forget a driver whose stream ended: its devices are Unknown from now; tell whether it had any."""
        return bool(self._drivers.pop(driver, None))

    def of(self, driver: str, pool: str, device: str) -> tuple[Health, str]:
        """Return health and message of a device, Unknown when nothing fresh is known."""
        known = self._drivers.get(driver, {}).get((pool, device))
        if known is None or self._expires(known) < self._monotonic():
            return "Unknown", ""
        return known.report.health, known.report.message

    def next_expiry(self) -> float | None:
        """Return the monotonic time at which the next device turns Unknown by silence."""
        now = self._monotonic()
        all_known = (known for devices in self._drivers.values() for known in devices.values())
        return min((expiry for known in all_known if (expiry := self._expires(known)) >= now), default=None)

    def to_state(self) -> JsonObject:
        """Return the content of `dra_health_state`."""
        return {
            driver: {"Devices": {f"{pool}/{name}": _entry(known) for (pool, name), known in devices.items()}}
            for driver, devices in self._drivers.items()
        }

    def _expires(self, known: _Known) -> float:
        timeout = known.report.timeout_seconds
        return known.received + (timeout if timeout > 0 else self._default_timeout)


def allocated_resources(
    container: ContainerSpec, claims: Mapping[str, ClaimState], health: HealthCache
) -> list[JsonObject]:
    """Return `allocatedResourcesStatus` of a container; `claims` maps pod claim names to their state."""
    entries: list[JsonObject] = []
    for use in container.claims:
        state = claims.get(use.claim)
        if state is None:
            continue
        name = f"claim:{use.claim}/{use.request}" if use.request else f"claim:{use.claim}"
        resources: dict[str, JsonObject] = {}
        for driver, device in state.granted(use.request):
            identity = resource_id(driver, device)
            resources.setdefault(
                identity, _resource(identity, *health.of(driver, device.pool, device.device))
            )
        if resources:
            entries.append({"name": name, "resources": list(resources.values())})
    return entries


def resource_id(driver: str, device: PreparedDevice) -> str:
    """Return how pod status names a device: its first CDI id, else driver/pool/device."""
    return device.cdi_ids[0] if device.cdi_ids else f"{driver}/{device.pool}/{device.device}"


def _resource(identity: str, health: Health, message: str) -> JsonObject:
    return {"resourceID": identity, "health": health} | ({"message": message} if message else {})


def _shorten(report: DeviceHealth) -> DeviceHealth:
    if len(report.message) <= MESSAGE_LIMIT:
        return report
    return replace(report, message=report.message[: MESSAGE_LIMIT - 3] + "...")


def _entry(known: _Known) -> JsonObject:
    report = known.report
    return {
        "PoolName": report.pool,
        "DeviceName": report.device,
        "Health": report.health,
        "LastUpdated": known.received,
        "HealthCheckTimeout": report.timeout_seconds,
        "Message": report.message,
    }
