"""Somebody else at work on the node: cuts GPUs by hand, and meets GPUs that fail and are reset."""

from __future__ import annotations

import random
from collections.abc import Callable, Collection
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final

from claimwright.e2e.driven_node import DrivenNode
from claimwright.emulator.errors import OperationRefused

# Double-bit ECC error: NVIDIA's XID 48; the GPU takes no work until it is reset.
_XID: Final = 48
_SMALLEST_PROFILE: Final = 19


@dataclass(frozen=True)
class Act:
    """Something done to one GPU, by its PCI address, and how it is taken back; `intact` looks whether it still is."""

    what: str
    bus: str
    undo: Callable[[], object]
    intact: Callable[[], bool] = lambda: True


class Admin:
    """Does one thing at a time, to GPUs that nobody uses."""

    def __init__(self, node: DrivenNode, chance: random.Random) -> None:
        self._node = node.node
        self._chance = chance
        self.act: Act | None = None

    def begin(self, used: Collection[str]) -> str:
        """Do something to a GPU that is not `used` (PCI addresses); return what, nothing when there is none to do."""
        idle = [gpu for gpu in self._gpus() if gpu["nvml_visible"] and _bus(gpu) not in used]
        if not idle or self.act is not None:
            return ""
        gpu = self._chance.choice(idle)
        self.act = self._chance.choice([self._cut, self._fail])(gpu["index"], _bus(gpu))
        return "" if self.act is None else self.act.what

    def end(self) -> str:
        """Take it back; return what was not as it was left, nothing when all is well."""
        act, self.act = self.act, None
        if act is None:
            return ""
        broken = (
            "" if act.intact() else f"{act.what} on {act.bus} is gone while claims came and went elsewhere"
        )
        with suppress(OperationRefused):
            act.undo()
        return broken

    def _fail(self, gpu: int, bus: str) -> Act:
        self._node.call("inject_fault", fault="xid", parameters={"gpu": gpu, "xid": _XID})
        return Act("XID 48", bus, lambda: self._node.call("reset_gpu", gpu=gpu))

    def _cut(self, gpu: int, bus: str) -> Act | None:
        call = self._node.call
        try:
            call("set_mig_mode", gpu=gpu, enabled=True)
        except OperationRefused:
            return None
        try:
            made = call("create_gpu_instance", gpu=gpu, profile=_SMALLEST_PROFILE)["id"]
        except OperationRefused:  # it takes a reset to be cut, or has no such profile
            call("set_mig_mode", gpu=gpu, enabled=False)
            return None
        inner = call("create_compute_instance", gpu=gpu, gpu_instance=made)["id"]

        def undo() -> None:
            call("destroy_compute_instance", gpu=gpu, gpu_instance=made, compute_instance=inner)
            call("destroy_gpu_instance", gpu=gpu, gpu_instance=made)
            call("set_mig_mode", gpu=gpu, enabled=False)

        return Act("partition", bus, undo, lambda: self._has(gpu, made))

    def _has(self, gpu: int, instance: int) -> bool:
        mig = self._gpus()[gpu]["mig"] or {}
        return any(each["id"] == instance for each in mig.get("gpu_instances", ()))

    def _gpus(self) -> list[dict[str, Any]]:
        return list(self._node.call("snapshot")["gpus"])


def _bus(gpu: dict[str, Any]) -> str:
    return str(gpu["pci"]).lower()
