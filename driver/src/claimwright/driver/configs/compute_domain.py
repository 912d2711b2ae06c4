"""Configs of the ComputeDomain driver: which domain a channel or a daemon belongs to.

Its controller writes them into the claim templates that it makes; people write them when they debug.
"""

from __future__ import annotations

import re
from typing import ClassVar, Final

import pydantic

from claimwright.driver.computedomain.resources import COMPUTE_DOMAIN_DRIVER
from claimwright.driver.configs.decoding import Config
from claimwright.driver.errors import ClaimRefused
from claimwright.driver.feature_gates import FeatureGates
from claimwright.driver.quoting import quoted

ALLOCATION_MODES: Final = ("Single", "All")
# A uid becomes the name of a folder on the node.
_UID: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9.-]{0,252}")


class ComputeDomainChannelConfig(Config):
    """Configuration of an IMEX channel: its domain, and whether containers get one channel or all."""

    driver: ClassVar[str] = COMPUTE_DOMAIN_DRIVER
    device_type: ClassVar[str] = "channel"

    domain_id: str = pydantic.Field(
        default="",
        alias="domainID",
        description="The uid of the ComputeDomain.",
        json_schema_extra={"pattern": f"^{_UID.pattern}$"},
    )
    # The community driver takes anything but All for Single, a misspelled All as well.
    allocation_mode: str | None = pydantic.Field(
        default=None, json_schema_extra={"enum": [*ALLOCATION_MODES, "", None]}
    )

    def check(self, gates: FeatureGates) -> None:  # noqa: ARG002  no gate of these
        """Refuse an impossible domain or mode."""
        check_domain(self.domain_id)
        if self.allocation_mode and self.allocation_mode not in ALLOCATION_MODES:
            raise ClaimRefused(
                f"allocationMode: unknown allocation mode {quoted(self.allocation_mode)}, "
                f"supported: {', '.join(ALLOCATION_MODES)}"
            )


class ComputeDomainDaemonConfig(Config):
    """Configuration of the daemon that runs a domain's part on one node."""

    driver: ClassVar[str] = COMPUTE_DOMAIN_DRIVER
    device_type: ClassVar[str] = "daemon"

    domain_id: str = pydantic.Field(
        default="",
        alias="domainID",
        description="The uid of the ComputeDomain.",
        json_schema_extra={"pattern": f"^{_UID.pattern}$"},
    )

    def check(self, gates: FeatureGates) -> None:  # noqa: ARG002  no gate of these
        """Refuse an impossible domain."""
        check_domain(self.domain_id)


def check_domain(domain_id: str) -> None:
    """Refuse what cannot be the uid of a ComputeDomain."""
    if not domain_id:
        raise ClaimRefused("domainID: domainID cannot be empty; give the uid of the ComputeDomain")
    if not _UID.fullmatch(domain_id):
        raise ClaimRefused(f"domainID: {quoted(domain_id)} is no uid: expected letters, digits, - and .")
