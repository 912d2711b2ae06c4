"""The pages that every reader maps: written by one process, each page under its own sequence number."""

from __future__ import annotations

import os
from operator import attrgetter, is_
from types import TracebackType
from typing import Self

from claimwright.emulator.model import GpuState, NodeState
from claimwright.emulator.model.state import DriverCondition
from claimwright.emulator.nvml.encoding import encode_header, encode_pages
from claimwright.emulator.nvml.identity import GpuIdentity, identify
from claimwright.emulator.nvml.layout import DRIVER_GONE_OFFSET, HEADER_BYTES, PAGE_BYTES
from claimwright.emulator.nvml.memory import TOTAL_BYTES, Owner, create_memory, map_and_seal
from claimwright.emulator.nvml.sections import sections

__all__ = ["TOTAL_BYTES", "PageWriter", "create_memory", "encode_pages"]

_MASK = 0xFFFFFFFF
_NEVER: tuple[object, ...] = ()


class PageWriter:
    """Publishes node states into shared memory.

    Readers retry while a page's sequence number is odd or has changed (a sequence lock: Linux,
    Documentation/locking/seqlock.rst). x86-64 keeps stores in order, so plain writes from Python suffice. Not
    thread-safe: NodeModel calls its subscribers under its lock.
    """

    def __init__(self, memfd: int) -> None:
        self.memfd = memfd
        self._memory = map_and_seal(memfd)
        self._owner: Owner | None = None
        self._known: dict[int, GpuState] = {}
        self._identities: dict[int, GpuIdentity] = {}
        self._needs: dict[int, tuple[object, ...]] = {}  # of each section, as it was last written
        self._header = b""
        self._listed: tuple[int, ...] = ()
        self._headed: tuple[object, ...] = ()  # what the header was made of
        self._generation = 0

    @classmethod
    def create(cls, name: str = "node") -> PageWriter:
        """Make the memory and its writer."""
        return cls(create_memory(name))

    def publish(self, state: NodeState) -> None:
        """Write what differs from the last state; readers in any process see it when this returns."""
        for gpu in state.gpus:
            if self._known.get(gpu.index) is not gpu:
                self._write_gpu(gpu, state)
        self._write_header(state)
        gone = int(state.driver_condition is DriverCondition.UNLOADED)
        self._memory[DRIVER_GONE_OFFSET : DRIVER_GONE_OFFSET + 4] = gone.to_bytes(4, "little")
        if self._owner is None:  # last: a reader that finds the owner finds whole pages
            self._owner = Owner(self._memory)

    def close(self) -> None:
        """Tell readers that the node is gone; they keep their mapping, which stays valid. Idempotent."""
        if self._owner is not None:
            self._owner.close()
        if self.memfd >= 0:
            os.close(self.memfd)
            self.memfd = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _write_gpu(self, gpu: GpuState, state: NodeState) -> None:
        identity = self._identity(gpu, state)
        needs = tuple(section.needs(gpu) for section in sections())
        known = self._needs.get(gpu.index, _NEVER)
        changed = [
            (section.offset, section.encode(gpu, identity))
            for number, section in enumerate(sections())
            if not known or known[number] != needs[number]
        ]
        self._write(HEADER_BYTES + gpu.index * PAGE_BYTES, changed)
        self._needs[gpu.index], self._known[gpu.index] = needs, gpu

    def _write(self, page: int, changed: list[tuple[int, bytes]]) -> None:
        """Write parts of a page; its sequence number is odd meanwhile."""
        memory = self._memory
        sequence = int.from_bytes(memory[page : page + 4], "little") | 1
        memory[page : page + 4] = sequence.to_bytes(4, "little")
        for offset, data in changed:
            memory[page + offset : page + offset + len(data)] = data
        memory[page : page + 4] = (sequence + 1 & _MASK).to_bytes(4, "little")

    def _identity(self, gpu: GpuState, state: NodeState) -> GpuIdentity:
        known = self._known.get(gpu.index)
        if known is None or known.board is not gpu.board or known.uuid != gpu.uuid:
            self._identities[gpu.index] = identify(gpu, state)
            self._needs.pop(gpu.index, None)
        return self._identities[gpu.index]

    def _write_header(self, state: NodeState) -> None:
        """Count a new topology after the pages: a reader that sees the number finds the pages of it."""
        headed = (
            state.faults,
            state.driver_condition,
            *[part for gpu in state.gpus for part in _headed(gpu)],
        )
        if _same(headed, self._headed):
            return
        self._headed = headed
        listed = tuple(gpu.index for gpu in state.gpus if gpu.nvml_visible)
        self._generation += listed != self._listed
        self._listed = listed
        header = encode_header(state, topology_generation=self._generation)
        if header != self._header:
            self._memory[: len(header)] = header
            self._header = header


_headed = attrgetter("nvml_visible", "nvlinks")  # of a GPU, what the header tells


def _same(first: tuple[object, ...], second: tuple[object, ...]) -> bool:
    """Compare by identity: states share what did not change."""
    return len(first) == len(second) and all(map(is_, first, second))
