"""What the driver holds on this node, read beside it: journal, NVML, sockets and its last errors."""

from claimwright.driver.status.gathering import gather
from claimwright.driver.status.rendering import as_json, as_text
from claimwright.driver.status.values import GpuStatus, Holding, Status

__all__ = ["GpuStatus", "Holding", "Status", "as_json", "as_text", "gather"]
