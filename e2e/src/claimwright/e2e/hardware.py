"""What claims change on an emulated node's hardware, read from its model and not from the driver."""

from __future__ import annotations

from typing import Any, Final

from claimwright.emulator import running

_KEPT: Final = (
    "nvml_visible", "persistence_mode", "compute_mode", "time_slice", "mig", "driver", "held_by",
)  # fmt: skip


def hardware(node: running.RunningNode) -> dict[str, Any]:
    """Return modes, partitions and kernel drivers by GPU, and the vGPUs; equal before and after claims."""
    snapshot = node.call("snapshot")
    gpus = {f"GPU {gpu['index']}": {key: gpu.get(key) for key in _KEPT} for gpu in snapshot["gpus"]}
    return {**gpus, "mediated devices": snapshot["mediated_devices"], "vGPUs": snapshot["vgpus"]}


def gpu_at(node: running.RunningNode, address: str) -> dict[str, Any]:
    """Return the GPU at a PCI address; LookupError when there is none."""
    return next(dict(gpu) for gpu in node.call("snapshot")["gpus"] if gpu["pci"] == address)
