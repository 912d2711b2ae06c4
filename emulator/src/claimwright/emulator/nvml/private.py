"""Calls of the library that nvml.h does not have: what the real nvidia-smi asks the driver by private tables."""

from __future__ import annotations

from dataclasses import replace

from claimwright.emulator.nvml.header import Function, Header, Parameter

_DEVICE = Parameter("device", "nvmlDevice_t", 0)

FUNCTIONS = (
    Function(
        "claimwrightDeviceGetFact",
        (
            _DEVICE,
            Parameter("name", "char", 1, constant=True),
            Parameter("value", "char", 1),
            Parameter("length", "unsigned int", 0),
        ),
    ),
    Function("claimwrightDeviceReset", (_DEVICE,)),
)


def with_private(header: Header) -> Header:
    """Return the header with our functions at its end, so that no number of another changes."""
    return replace(header, functions=(*header.functions, *FUNCTIONS))
