"""Claims to which GPUs of a node are allocated, as the scheduler leaves them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from claimwright.dra.testing import allocated_claim


def allocated_gpus(
    name: str,
    devices: Sequence[str],
    *,
    pool: str,
    config: Sequence[Mapping[str, Any]] = (),
    **result: object,
) -> dict[str, Any]:
    """Give a claim of namespace default with a request `gpu-N` a device; `result` goes into each result."""
    requests = [(f"gpu-{number}", pool, device) for number, device in enumerate(devices)]
    claim = allocated_claim(name, "gpu.nvidia.com", requests, configs=config)
    for item in claim["status"]["allocation"]["devices"]["results"]:
        item.update(result)
    return claim
