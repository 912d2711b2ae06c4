"""A node's state as text for people and as JSON for programs."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Iterator
from dataclasses import asdict
from typing import Final

from claimwright.driver.recent_errors import RecentError
from claimwright.driver.status.values import GpuStatus, Holding, Status
from claimwright.driver.text_table import table

_GPU_HEAD: Final = ("GPU", "ADDRESS", "PRODUCT", "MIG", "OFFERED", "HELD BY")
_CLAIM_HEAD: Final = ("CLAIM", "STATE", "REQUEST", "DEVICE", "UID")
_ERROR_HEAD: Final = ("LAST", "COUNT", "OPERATION", "SUBJECT", "ERROR")


def as_json(status: Status) -> str:
    """Return everything as one JSON object."""
    return json.dumps(asdict(status), indent=2) + "\n"


def as_text(status: Status) -> str:
    """Return tables of GPUs, claims and errors."""
    return "\n".join(_blocks(status))


def _blocks(status: Status) -> Iterator[str]:
    version = f", NVIDIA driver {status.driver_version}" if status.driver_version else ""
    yield f"driver: {'serving' if status.serving else 'not serving'}{version}\n"
    if status.problems:
        yield "".join(f"problem: {problem}\n" for problem in status.problems)
    if status.gpus:
        yield table(_GPU_HEAD, [_gpu_row(gpu) for gpu in status.gpus])
    if status.holdings:
        yield table(_CLAIM_HEAD, [_claim_row(held) for held in status.holdings])
    else:
        yield "no claims\n"
    if status.errors:
        yield table(_ERROR_HEAD, [_error_row(error) for error in reversed(status.errors)])


def _error_row(error: RecentError) -> tuple[str, ...]:
    return (_time(error.last), str(error.count), error.operation, error.subject, error.text)


def _gpu_row(gpu: GpuStatus) -> tuple[str, ...]:
    holders = ", ".join(dict.fromkeys(held.claim for held in gpu.holdings)) or "-"
    offered = gpu.offered[0] if len(gpu.offered) == 1 else f"{len(gpu.offered)} devices"
    return (
        gpu.name or "-",
        gpu.address,
        gpu.product or "(not seen by NVML)",
        gpu.mig or "-",
        offered,
        holders,
    )


def _claim_row(held: Holding) -> tuple[str, ...]:
    notes = [*(["admin"] if held.admin_access else []), *([f"share {held.share}"] if held.share else [])]
    device = f"{held.device} ({', '.join(notes)})" if notes else held.device
    return (held.claim, held.state, held.request, device, held.uid)


def _time(seconds: float) -> str:
    return f"{dt.datetime.fromtimestamp(seconds, dt.UTC):%Y-%m-%d %H:%M:%SZ}"
