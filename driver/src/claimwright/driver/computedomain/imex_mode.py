"""Who runs nvidia-imex, and how workloads are kept apart: what controller and plugin are told by flags."""

from __future__ import annotations

from typing import Final

from claimwright.driver.computedomain.resources import DRIVER_MANAGED, HOST_MANAGED
from claimwright.driver.errors import NodeUnusable
from claimwright.driver.feature_gates import FeatureGates

MODES: Final = (DRIVER_MANAGED, HOST_MANAGED)
# All workloads of one IMEX domain share channel 0. A channel per workload is announced by the community driver only.
ISOLATION_DOMAIN: Final = "domain"
_GATE: Final = "HostManagedIMEXDaemon"


def check_imex(mode: str, isolation: str, gates: FeatureGates) -> None:
    """Refuse modes that do not exist or whose gate is off; NodeUnusable names the flag."""
    if mode not in MODES:
        raise NodeUnusable(f"--imex-mode {mode!r}: expected {' or '.join(MODES)}")
    if isolation != ISOLATION_DOMAIN:
        raise NodeUnusable(
            f"--imex-isolation {isolation!r}: expected {ISOLATION_DOMAIN}; no driver isolates by channel yet"
        )
    if mode == HOST_MANAGED and not gates[_GATE]:
        raise NodeUnusable(f"--imex-mode {mode} needs feature gate {_GATE}=true")
