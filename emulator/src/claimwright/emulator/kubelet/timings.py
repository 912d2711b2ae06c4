"""Every period and deadline of the stand-in in one place, with the kubelet's own values as defaults."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Timings:
    """Seconds. Sources: kubelet configuration defaults, and the DRA manager's constants.

    Tests shorten them or replace the clock; nothing else in the stand-in holds a number of seconds.
    """

    lease_renew: float = 10.0
    lease_duration: int = 40
    node_status: float = 300.0
    wipe_after: float = 30.0  # driver without a connected endpoint: its slices go (since 1.34)
    wipe_retry_start: float = 1.0
    wipe_retry_cap: float = 300.0
    prepare_call: float = 45.0
    retry_start: float = 1.0
    retry_cap: float = 20.0  # the kubelet comes back within 90 s at the latest
    restart_start: float = 10.0
    restart_cap: float = 300.0
    restart_forget: float = 600.0  # a container that ran that long restarts without back-off
    reconcile: float = 60.0
    health_reopen: float = 5.0
    health_timeout: float = 30.0
    api_retry: float = 1.0
    plugin_scan: float = 0.5  # the kubelet has inotify and looks once a second beside it


def growing(start: float, cap: float, attempt: int) -> float:
    """Return the delay before attempt number `attempt` (0 is the first retry): start · 2ⁿ up to cap."""
    return float(min(cap, start * 2 ** min(attempt, 30)))
