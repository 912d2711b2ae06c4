"""NVML fails at each function that the driver calls, with many words: one answer per claim, nothing left of it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pynvml
import pytest

from claimwright.driver.adapters import nvml as adapter
from claimwright.e2e.deadlines import wait_until
from claimwright.e2e.driven_node import DrivenNode
from claimwright.e2e.soak import world

pytestmark = [pytest.mark.e2e, pytest.mark.slow]
SOURCES = sorted(Path(adapter.__path__[0]).glob("*.py"))
FUNCTIONS = sorted(
    {
        found
        for path in SOURCES
        for found in re.findall(r"pynvml\.(nvml[A-Z]\w+)", path.read_text())
        if callable(getattr(pynvml, found, None)) and not found.startswith(("nvmlError", "nvmlShutdown"))
    }
)
# What the emulator's library says on request. GPU_IS_LOST is not here: it means that all on the GPU is gone with it,
# which one function alone cannot play; the tests of lost GPUs do.
CODES = [
    "CORRUPTED_INFOROM",
    "DRIVER_NOT_LOADED",
    "INSUFFICIENT_RESOURCES",
    "INSUFFICIENT_SIZE",
    "INVALID_ARGUMENT",
    "INVALID_STATE",
    "IN_USE",
    "IRQ_ISSUE",
    "LIB_RM_VERSION_MISMATCH",
    "MEMORY",
    "NOT_FOUND",
    "NOT_READY",
    "NOT_SUPPORTED",
    "NO_DATA",
    "NO_PERMISSION",
    "RESET_REQUIRED",
    "TIMEOUT",
    "UNKNOWN",
]
# What means at a release that there is nothing left to release; the driver asks twice before it believes it.
GONE = {("nvmlDeviceGetHandleByUUID", "NOT_FOUND")}
DEVICE = "gpu-0-mig-1g10gb-19-0"
WORDS_EACH = 3


@pytest.fixture(scope="module")
def node() -> Iterator[DrivenNode]:
    with DrivenNode("hgx-h100") as node:
        node.start("DynamicMIG=true,PassthroughSupport=true,NVMLDeviceHealthCheck=true")
        node.wait_devices(lambda found: DEVICE in found)
        yield node


def tried(node: DrivenNode, function: str, code: str, *, prepared_before: bool = False) -> None:
    """Prepare and release while a function fails, or only release; then again when it does not."""
    before = world(node)
    claim = node.claim(f"{function.lower()}-{code.lower().replace('_', '-')}", [DEVICE])
    if prepared_before:
        node.prepared(claim)
    node.node.call("inject_fault", fault="nvml-fails", parameters={"function": function, "code": code})
    try:
        if not prepared_before:
            (answer,) = node.prepare(claim)
            assert bool(answer.error) is not bool(answer.devices)
        node.release(claim)
    finally:
        node.node.call("clear_faults")
    process = node.process
    assert process is not None
    assert process.alive, node.log_end()
    wait_until("a release", lambda: node.release(claim) == [""], seconds=20, seen=node.log_end)
    assert world(node) == before
    wait_until("a prepare", lambda: not node.prepare(claim)[0].error, seconds=20, seen=node.log_end)
    node.released(claim)
    assert world(node) == before


@pytest.mark.parametrize("number", range(len(FUNCTIONS)), ids=FUNCTIONS)
def test_a_function_that_fails_is_one_answer_and_leaves_nothing(node: DrivenNode, number: int) -> None:
    for word in range(WORDS_EACH):
        tried(node, FUNCTIONS[number], CODES[(number * WORDS_EACH + word) % len(CODES)])


@pytest.mark.parametrize("number", range(len(FUNCTIONS)), ids=FUNCTIONS)
def test_a_function_that_fails_at_the_release_leaves_nothing_either(node: DrivenNode, number: int) -> None:
    for word in range(WORDS_EACH):
        code = CODES[(number * WORDS_EACH + word) % len(CODES)]
        if (FUNCTIONS[number], code) not in GONE:
            tried(node, FUNCTIONS[number], code, prepared_before=True)


@pytest.mark.parametrize("code", CODES)
@pytest.mark.parametrize("function", ["nvmlGpuInstanceCreateComputeInstance", "nvmlDeviceGetGpuInstanceById"])
def test_every_word_at_the_cut_itself_and_at_its_end_leaves_nothing(
    node: DrivenNode, function: str, code: str
) -> None:
    tried(node, function, code)
