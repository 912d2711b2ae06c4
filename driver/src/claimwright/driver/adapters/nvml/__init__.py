"""NVML through pynvml: one session per process, and one module for each of the ports that it serves."""

from claimwright.driver.adapters.nvml.events import NvmlEvents
from claimwright.driver.adapters.nvml.partitions import NvmlPartitions
from claimwright.driver.adapters.nvml.profiles import ProfileBook
from claimwright.driver.adapters.nvml.reading import NvmlLibrary
from claimwright.driver.adapters.nvml.session import NvmlSession
from claimwright.driver.adapters.nvml.usage import NvmlUsage
from claimwright.driver.adapters.nvml.vgpus import NvmlVgpus

__all__ = [
    "NvmlEvents",
    "NvmlLibrary",
    "NvmlPartitions",
    "NvmlSession",
    "NvmlUsage",
    "NvmlVgpus",
    "ProfileBook",
]
