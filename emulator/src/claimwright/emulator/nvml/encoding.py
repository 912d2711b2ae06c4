"""A node's state as bytes: one header, and one page per GPU made of what it is and what it reads."""

from __future__ import annotations

from zlib import crc32

from claimwright.emulator.model import GpuState, NodeState
from claimwright.emulator.model.faults import call_faults
from claimwright.emulator.model.state import DriverCondition
from claimwright.emulator.nvml.errors import TooManyGpus
from claimwright.emulator.nvml.identity import GpuIdentity, identify
from claimwright.emulator.nvml.layout import (
    ABI,
    ABSENT,
    CALL_FAULT,
    CAPACITY,
    HEADER,
    HEADER_BYTES,
    MAGIC,
    PAGE_BYTES,
    Result,
)
from claimwright.emulator.nvml.records import Value
from claimwright.emulator.nvml.relations import ancestor_levels, link_peers
from claimwright.emulator.nvml.sections import sections


def encode_pages(state: NodeState) -> bytes:
    """Return header and pages of a node as one image, as a reader finds them before the first change."""
    header = encode_header(state, topology_generation=0).ljust(HEADER_BYTES, b"\0")
    return header + b"".join(encode_gpu(gpu, identify(gpu, state)) for gpu in state.gpus)


def encode_header(state: NodeState, *, topology_generation: int) -> bytes:
    """Return the header, without the owner's mutex behind it; TooManyGpus when the pages cannot hold the node."""
    if len(state.gpus) > CAPACITY:
        raise TooManyGpus(len(state.gpus), CAPACITY)
    return HEADER.pack(
        {
            "magic": MAGIC,
            "abi": ABI,
            "capacity": CAPACITY,
            "page_bytes": PAGE_BYTES,
            "gpu_count": len(state.gpus),
            "cuda_version": state.cuda_driver_version,
            "topology_generation": topology_generation,
            "driver_version": state.driver_version,
            # The library's own version is the CUDA major (13) before the driver's, as in 13.580.126.20.
            "nvml_version": f"{state.cuda_driver_version // 1000}.{state.driver_version}",
            "branch": f"r{state.driver_version.split('.')[0]}_00",
            "node_name": state.name[:63],
            "topology": ancestor_levels(state),
            "nvlink_peers": link_peers(state),
            "library_mismatch": int(state.driver_condition is DriverCondition.MISMATCHED),
            **_call_faults(state),
        }
    )


def _call_faults(state: NodeState) -> dict[str, Value]:
    faults = [
        CALL_FAULT.pack(
            {
                "function": crc32(call.function.encode()),
                "slot": ABSENT if call.gpu is None else call.gpu,
                "delay_ms": round(call.delay_seconds * 1000),
                "result": Result.SUCCESS if call.code is None else Result[call.code],
            }
        )
        for call in call_faults(state)
    ]
    return {"call_fault_count": len(faults), "call_faults": b"".join(faults)}


def encode_gpu(gpu: GpuState, identity: GpuIdentity) -> bytes:
    """Return one GPU's page, as a writer begins it: with sequence number 0."""
    page = bytearray(PAGE_BYTES)
    for section in sections():
        page[section.offset : section.offset + section.record.size] = section.encode(gpu, identity)
    return bytes(page)
