"""The NVML face: a real `libnvidia-ml.so.1` that reads an emulated node's shared pages and sends it commands."""

from claimwright.emulator.nvml.driver_root import DriverRoot, compose
from claimwright.emulator.nvml.errors import NvmlFaceError
from claimwright.emulator.nvml.pages import PageWriter, encode_pages
from claimwright.emulator.nvml.server import NvmlServer, serving

__all__ = ["DriverRoot", "NvmlFaceError", "NvmlServer", "PageWriter", "compose", "encode_pages", "serving"]
