"""Calls between library and node that NVML does not have; they travel as its functions do, and are not exported."""

from __future__ import annotations

from claimwright.emulator.nvml.header import Function, Parameter

PRIVATE = (
    Function(
        "claimwrightReadGpmCounters",
        (
            Parameter("device", "nvmlDevice_t", 0),
            Parameter("gpuInstance", "unsigned int", 0),
            Parameter("sums", "unsigned long long", 1),
            Parameter("count", "unsigned int", 1),
        ),
    ),
)
