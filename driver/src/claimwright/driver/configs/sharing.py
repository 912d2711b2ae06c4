"""How several containers share one GPU: the blocks that GpuConfig and MigDeviceConfig have in common."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal
from typing import Annotated, Self

import pydantic

from claimwright.dra.quantities import format_quantity, parse_quantity
from claimwright.driver.configs.decoding import Block
from claimwright.driver.errors import ClaimRefused
from claimwright.driver.feature_gates import FeatureGates
from claimwright.driver.quoting import quoted, shown
from claimwright.driver.strategies import INTERVALS, MPS, TIME_SLICING

_GATES = {TIME_SLICING: "TimeSlicingSettings", MPS: "MPSSupport"}
_MEBIBYTE = 1024 * 1024


def _quantity(value: object) -> object:
    if isinstance(value, bool) or not isinstance(value, str | int | float | Decimal):
        raise ValueError("expected a quantity, for example 10Gi")  # noqa: TRY004  pydantic reports ValueError
    return parse_quantity(str(value))


# What `parse_quantity` reads; a JSON number is taken as Kubernetes takes it, and it must reach one mebibyte.
_SCHEMA = {
    "anyOf": [
        {
            "type": "string",
            "pattern": r"^\+?([0-9]+(\.[0-9]*)?|\.[0-9]+)([KMGTPE]i|[numkMGTPE]|[eE][+-]?[0-9]{1,4})?$",
        },
        {"type": "number", "minimum": _MEBIBYTE},
    ]
}
QuantityField = Annotated[Decimal, pydantic.BeforeValidator(_quantity), pydantic.WithJsonSchema(_SCHEMA)]


class TimeSlicingConfig(Block):
    """How long a context runs before the next one; an empty block means Default."""

    interval: str | None = pydantic.Field(default=None, json_schema_extra={"enum": [*INTERVALS, None]})


class MpsConfig(Block):
    """Limits of the Multi-Process Service."""

    default_active_thread_percentage: int | None = pydantic.Field(
        default=None, json_schema_extra={"minimum": 0, "maximum": 100}
    )
    default_pinned_device_memory_limit: QuantityField | None = None
    default_per_device_pinned_memory_limit: dict[str, QuantityField] | None = None
    multi_user: bool | None = None


class MigDeviceSharing(Block):
    """Sharing of a MIG device: it has no time-slice setting of its own."""

    strategy: str = pydantic.Field(default="", json_schema_extra={"enum": [TIME_SLICING, MPS]})
    mps_config: MpsConfig | None = None

    def normalised(self) -> Self:
        """Return it with the block of its strategy."""
        if self.strategy == MPS and self.mps_config is None:
            return self.model_copy(update={"mps_config": MpsConfig()})
        return self


class GpuSharing(MigDeviceSharing):
    """Sharing of a whole GPU."""

    time_slicing_config: TimeSlicingConfig | None = None

    @property
    def time_slice_interval(self) -> str:
        """The interval's name; the community driver crashes on an empty block, here it is Default."""
        config = self.time_slicing_config
        return "Default" if config is None or config.interval is None else config.interval

    def normalised(self) -> Self:
        """Return it with the block of its strategy."""
        if self.strategy == TIME_SLICING:
            block = TimeSlicingConfig(interval=self.time_slice_interval)
            return self.model_copy(update={"time_slicing_config": block})
        return super().normalised()


def check_strategy(strategy: str, gates: FeatureGates) -> None:
    """Refuse a strategy that does not exist or whose feature gate is off."""
    gate = _GATES.get(strategy)
    if gate is None:
        raise ClaimRefused(
            f"sharing.strategy: unknown GPU sharing strategy {quoted(strategy)}, "
            f"supported: {TIME_SLICING}, {MPS}"
        )
    if not gates[gate]:
        raise ClaimRefused(
            f'sharing.strategy: sharing strategy "{strategy}": feature gate {gate} is not enabled'
        )


def check_interval(sharing: GpuSharing) -> None:
    """Refuse an interval that is none of the four."""
    interval = sharing.time_slice_interval
    if interval not in INTERVALS:
        raise ClaimRefused(
            f"sharing.timeSlicingConfig.interval: unknown time-slice interval {quoted(interval)}, "
            f"supported: {', '.join(INTERVALS)}"
        )


def check_mps(config: MpsConfig | None) -> None:
    """Refuse limits that the MPS control daemon would refuse."""
    if config is None:
        return
    percentage = config.default_active_thread_percentage
    at = "sharing.mpsConfig.defaultActiveThreadPercentage"
    if percentage is not None and percentage < 0:
        raise ClaimRefused(f"{at} {shown(percentage)} must not be negative; expected 0 to 100")
    if percentage is not None and percentage > 100:
        raise ClaimRefused(f"{at} {shown(percentage)} must not be greater than 100; expected 0 to 100")
    for name, limit in _limits(config):
        if limit // _MEBIBYTE <= 0:
            raise ClaimRefused(
                f"invalid limit {format_quantity(limit)} for sharing.mpsConfig.{name}: set too low, the least is 1Mi"
            )


def check_pairing(sharing: MigDeviceSharing) -> None:
    """Refuse the settings of one strategy under the name of the other."""
    if sharing.strategy == TIME_SLICING and sharing.mps_config is not None:
        raise ClaimRefused(f"sharing.mpsConfig: cannot use MpsConfig with '{TIME_SLICING}'")
    slices = isinstance(sharing, GpuSharing) and sharing.time_slicing_config is not None
    if sharing.strategy == MPS and slices:
        raise ClaimRefused(f"sharing.timeSlicingConfig: cannot use TimeSlicingConfig with '{MPS}'")


def _limits(config: MpsConfig) -> Iterator[tuple[str, Decimal]]:
    if config.default_pinned_device_memory_limit is not None:
        yield "defaultPinnedDeviceMemoryLimit", config.default_pinned_device_memory_limit
    for device, limit in (config.default_per_device_pinned_memory_limit or {}).items():
        yield f"defaultPerDevicePinnedMemoryLimit[{shown(device)[1:-1]}]", limit
