"""GpuConfig: what a claim may ask of a whole GPU."""

from __future__ import annotations

from typing import ClassVar

from claimwright.driver.configs import sharing
from claimwright.driver.configs.decoding import Config
from claimwright.driver.configs.gates import FeatureGates


class GpuConfig(Config):
    """Configuration of a whole GPU. Without a sharing block nothing is done to it."""

    device_types: ClassVar[tuple[str, ...]] = ("gpu",)

    sharing: sharing.GpuSharing | None = None

    def check(self, gates: FeatureGates) -> None:
        """Refuse what cannot be applied; ClaimRefused says what is wrong and what is allowed."""
        if self.sharing is None:
            return
        sharing.check_strategy(self.sharing.strategy, gates)
        sharing.check_pairing(self.sharing)
        sharing.check_interval(self.sharing)
        sharing.check_mps(self.sharing.mps_config)
