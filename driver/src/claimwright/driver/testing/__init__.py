"""The driver's ports in memory, for tests, the fleet and reports; they pass the adapters' contract tests."""

from claimwright.driver.testing.clock import HandClock
from claimwright.driver.testing.host import MemoryHost
from claimwright.driver.testing.nvml import MemoryNvml, gpu_reading, hgx_h100_host, hgx_h100_nvml
from claimwright.driver.testing.processes import ScriptedProcesses

__all__ = [
    "HandClock",
    "MemoryHost",
    "MemoryNvml",
    "ScriptedProcesses",
    "gpu_reading",
    "hgx_h100_host",
    "hgx_h100_nvml",
]
