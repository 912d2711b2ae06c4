"""What NVML says about NVLink between GPUs: their fabric, and which of them reach each other."""

from __future__ import annotations

import ctypes
import itertools
import uuid
from collections import defaultdict
from collections.abc import Mapping
from typing import Any

import pynvml

from claimwright.driver.ports import FabricReading


def fabric_of(handle: Any) -> FabricReading | None:  # noqa: ANN401  an opaque C pointer
    """Read the GPU's place in its fabric; None where it has none or NVML does not know fabrics."""
    info = pynvml.c_nvmlGpuFabricInfo_v2_t()
    info.version = pynvml.nvmlGpuFabricInfo_v2
    try:
        pynvml.nvmlDeviceGetGpuFabricInfoV(handle, ctypes.byref(info))
    except pynvml.NVMLError as error:
        if error.value == pynvml.NVML_ERROR_GPU_IS_LOST:
            raise
        return None
    if info.state == pynvml.NVML_GPU_FABRIC_STATE_NOT_SUPPORTED:
        return None
    return FabricReading(
        cluster_uuid=str(uuid.UUID(bytes=bytes(info.clusterUuid))),
        clique_id=int(info.cliqueId),
        state=int(info.state),
        status=int(info.status),
        health_mask=int(info.healthMask),
    )


def nvlink_peers(handles: Mapping[str, Any]) -> Mapping[str, tuple[str, ...]]:
    """Return for each GPU, by PCI bus id, those whose memory it reaches over NVLink."""
    peers: dict[str, set[str]] = defaultdict(set)
    for (one, near), (other, far) in itertools.combinations(handles.items(), 2):
        if _linked(near, far):
            peers[one].add(other)
            peers[other].add(one)
    return {name: tuple(sorted(found)) for name, found in peers.items()}


def _linked(near: Any, far: Any) -> bool:  # noqa: ANN401
    try:
        status = pynvml.nvmlDeviceGetP2PStatus(near, far, pynvml.NVML_P2P_CAPS_INDEX_NVLINK)
    except pynvml.NVMLError:
        return False  # not supported, or one of them is lost: then nothing is known to be reachable
    return bool(status == pynvml.NVML_P2P_STATUS_OK)
