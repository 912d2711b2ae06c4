"""MigDeviceConfig: what a claim may ask of a partition of a GPU."""

from __future__ import annotations

from typing import ClassVar

from claimwright.driver.configs import sharing
from claimwright.driver.configs.decoding import Config
from claimwright.driver.configs.gates import FeatureGates


class MigDeviceConfig(Config):
    """Configuration of a MIG device; `timeSlicingConfig` is no field of it."""

    device_types: ClassVar[tuple[str, ...]] = ("mig",)

    sharing: sharing.MigDeviceSharing | None = None

    def check(self, gates: FeatureGates) -> None:
        """Refuse what cannot be applied."""
        if self.sharing is not None:
            sharing.check_strategy(self.sharing.strategy, gates)
            sharing.check_mps(self.sharing.mps_config)
