"""What an answer knows of the call that it answers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Concatenate, ParamSpec, TypeVar

from claimwright.emulator.model import GpuState, NodeModel, NodeState
from claimwright.emulator.model.change import Change
from claimwright.emulator.nvml.client import Client
from claimwright.emulator.nvml.handles import Handle
from claimwright.emulator.nvml.history import History
from claimwright.emulator.nvml.layout import Result

P = ParamSpec("P")
T = TypeVar("T")


class Refused(Exception):
    """The call is answered by this return code alone."""

    def __init__(self, result: Result) -> None:
        super().__init__(result.name)
        self.result = result


@dataclass(frozen=True, slots=True)
class Call:
    """One call of one client; `rooms` counts elements per array, None where the caller gave NULL."""

    model: NodeModel
    history: History
    client: Client
    function: str
    rooms: Mapping[str, int | None]

    @property
    def state(self) -> NodeState:
        """The node's state now."""
        return self.model.snapshot()

    def gpu(self, device: Handle) -> GpuState:
        """Return the GPU under a handle; Refused as NVML says of one that is lost or on another driver."""
        gpus = self.state.gpus
        if device.gpu >= len(gpus):
            raise Refused(Result.INVALID_ARGUMENT)
        gpu = gpus[device.gpu]
        if gpu.lost or not gpu.nvml_visible:
            raise Refused(Result.GPU_IS_LOST)
        return gpu

    def whole_gpu(self, device: Handle) -> GpuState:
        """Return the GPU of a handle that is no MIG device; most of NVML is NOT_SUPPORTED for those."""
        if device.is_mig_device:
            raise Refused(Result.NOT_SUPPORTED)
        return self.gpu(device)

    def room(self, name: str) -> int:
        """Return how many elements the caller has room for, 0 when it gave none."""
        return self.rooms.get(name) or 0

    def need_admin(self) -> None:
        """Refuse who may not change the node."""
        if not self.client.may_administrate:
            raise Refused(Result.NO_PERMISSION)

    def perform(
        self, operation: Callable[Concatenate[NodeState, P], Change[T]], *arguments: P.args, **named: P.kwargs
    ) -> T:
        """Change the model by an operation; OperationRefused becomes its return code."""
        return self.model.perform(operation, *arguments, **named)
