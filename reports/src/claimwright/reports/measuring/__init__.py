"""Measure a DRA driver from outside: by the API server, the plugin's sockets and /proc."""

from claimwright.reports.measuring.options import DriverChoice, LoadShape, Options, PodShape
from claimwright.reports.measuring.run import RunResult, measure

__all__ = ["DriverChoice", "LoadShape", "Options", "PodShape", "RunResult", "measure"]
