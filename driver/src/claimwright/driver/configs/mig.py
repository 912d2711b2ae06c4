"""MigDeviceConfig: what a claim may ask of a partition of a GPU."""

from __future__ import annotations

from typing import ClassVar, Self

from claimwright.driver.configs.decoding import Config
from claimwright.driver.configs.sharing import MigDeviceSharing, check_mps, check_pairing, check_strategy
from claimwright.driver.feature_gates import FeatureGates


class MigDeviceConfig(Config):
    """Configuration of a MIG device; `timeSlicingConfig` is no field of it."""

    device_type: ClassVar[str] = "mig"

    sharing: MigDeviceSharing | None = None

    def normalised(self) -> Self:
        """Return it with the limits that its strategy has, if only by default."""
        return (
            self if self.sharing is None else self.model_copy(update={"sharing": self.sharing.normalised()})
        )

    def check(self, gates: FeatureGates) -> None:
        """Refuse what cannot be applied."""
        if self.sharing is not None:
            check_strategy(self.sharing.strategy, gates)
            check_pairing(self.sharing)
            check_mps(self.sharing.mps_config)
