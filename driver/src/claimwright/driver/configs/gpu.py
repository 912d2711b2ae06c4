"""GpuConfig: what a claim may ask of a whole GPU."""

from __future__ import annotations

from typing import ClassVar, Self

from claimwright.driver.configs.decoding import Config
from claimwright.driver.configs.sharing import (
    GpuSharing,
    check_interval,
    check_mps,
    check_pairing,
    check_strategy,
)
from claimwright.driver.feature_gates import FeatureGates


class GpuConfig(Config):
    """Configuration of a whole GPU. Without a sharing block nothing is done to it."""

    device_type: ClassVar[str] = "gpu"

    sharing: GpuSharing | None = None

    def normalised(self) -> Self:
        """Return it with the interval or the limits that its strategy has, if only by default."""
        return (
            self if self.sharing is None else self.model_copy(update={"sharing": self.sharing.normalised()})
        )

    def check(self, gates: FeatureGates) -> None:
        """Refuse what cannot be applied; ClaimRefused says what is wrong and what is allowed."""
        if self.sharing is None:
            return
        check_strategy(self.sharing.strategy, gates)
        check_pairing(self.sharing)
        check_interval(self.sharing)
        check_mps(self.sharing.mps_config)
