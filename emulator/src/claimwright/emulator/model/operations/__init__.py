"""All that can be done to a node: one module per subject, each a list of pure operations.

An operation takes the state and its arguments and gives a `Change`, or raises OperationRefused with NVML's reason;
`of_gpu` makes one from a function on a single GPU. `TABLE` is what the control socket, `node` commands and fault
scripts can call by name.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from claimwright.emulator.model.change import Change
from claimwright.emulator.model.operations import bus, fabric, faults, gpus, load, mig, settings, vgpu

Operation = Callable[..., Change[Any]]

TABLE: Mapping[str, Operation] = {
    operation.__name__: operation
    for subject in (bus, fabric, faults, gpus, load, mig, settings, vgpu)
    for operation in subject.OPERATIONS
}

__all__ = ["TABLE", "Operation"]
