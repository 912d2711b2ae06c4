"""Requests on the NVML socket, as operations of the model."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence

from claimwright.emulator.model import GpuState, NodeModel, OperationRefused
from claimwright.emulator.model.operations import gpus
from claimwright.emulator.nvml.answers import wire
from claimwright.emulator.nvml.answers.answering import answer_call
from claimwright.emulator.nvml.client import Client
from claimwright.emulator.nvml.history import History
from claimwright.emulator.nvml.layout import MAGIC, REPLY, REQUEST, Operation, Result

_log = logging.getLogger(__name__)
_NO_VALUES = (0,) * 6
_Change = Callable[[NodeModel, int, Sequence[int]], GpuState]

# All of them need the right to administrate, as nvml.h says of each ("Requires root/admin permissions").
_CHANGES: Mapping[Operation, _Change] = {
    Operation.SET_PERSISTENCE_MODE: lambda model, gpu, given: model.perform(
        gpus.set_persistence_mode, gpu, enabled=bool(given[0])
    ),
    Operation.SET_COMPUTE_MODE: lambda model, gpu, given: model.perform(gpus.set_compute_mode, gpu, given[0]),
    Operation.SET_POWER_LIMIT: lambda model, gpu, given: model.perform(gpus.set_power_limit, gpu, given[0]),
    Operation.SET_ECC_MODE: lambda model, gpu, given: model.perform(
        gpus.set_ecc_mode, gpu, enabled=bool(given[0])
    ),
    Operation.CLEAR_ECC_COUNTS: lambda model, gpu, given: model.perform(
        gpus.clear_ecc_errors, gpu, aggregate=bool(given[0])
    ),
    Operation.LOCK_GPU_CLOCKS: lambda model, gpu, given: model.perform(
        gpus.lock_clocks, gpu, given[0], given[1]
    ),
    Operation.RESET_GPU_CLOCKS: lambda model, gpu, _: model.perform(gpus.unlock_clocks, gpu),
    Operation.SET_TIME_SLICE: lambda model, gpu, given: model.perform(gpus.set_time_slice, gpu, given[0]),
}


class Commands:
    """Answers requests; `find` looks a connection up by the number it was greeted with."""

    def __init__(self, model: NodeModel, history: History, find: Callable[[int], Client | None]) -> None:
        self._model = model
        self._history = history
        self._find = find

    def answer(self, client: Client, packet: bytes) -> bytes | None:
        """Return the reply to one packet, or None when it is no request and the client should go."""
        if len(packet) < REQUEST.size:
            return None
        magic, number, slot, *arguments = REQUEST.packing.unpack_from(packet)
        if magic != MAGIC or (len(packet) > REQUEST.size and number != Operation.CALL):
            return None
        if number == Operation.CALL:
            return self._call(client, packet, slot)
        return _reply(self._carry_out(client, number, slot, arguments), number)

    def delay(self, packet: bytes, delay_of: Callable[[str, int], float]) -> float:
        """Return how late the answer to a packet is to be."""
        if len(packet) < REQUEST.size:
            return 0.0
        _, number, slot, *_ = REQUEST.packing.unpack_from(packet)
        if number != Operation.CALL:
            return 0.0
        return delay_of(*wire.call_target(packet, slot))

    def _call(self, client: Client, packet: bytes, function: int) -> bytes | None:
        try:
            result, parts = answer_call(self._model, self._history, client, packet, function)
        except wire.Malformed as error:
            _log.warning("client %d sent no call: %s", client.pid, error)
            return None
        return _reply(result, Operation.CALL) + parts

    def _carry_out(self, client: Client, number: int, slot: int, arguments: Sequence[int]) -> Result:
        if number == Operation.REGISTER_EVENTS:
            return self._register(client, slot, arguments[0], arguments[1])
        if number == Operation.REGISTER_SYSTEM_EVENTS:
            return self._register_system(client, arguments[0], arguments[1])
        if number not in _CHANGES:
            return Result.NOT_SUPPORTED
        return self._change(client, Operation(number), slot, arguments)

    def _change(self, client: Client, operation: Operation, slot: int, arguments: Sequence[int]) -> Result:
        if not client.may_administrate:
            return Result.NO_PERMISSION
        try:
            _CHANGES[operation](self._model, slot, arguments)
        except OperationRefused as refused:
            return Result[refused.reason.name]
        except Exception:  # noqa: BLE001 - the top of a request: one client's command must not end the node
            _log.exception("%s of GPU %d failed", operation.name, slot)
            return Result.UNKNOWN
        return Result.SUCCESS

    def _register(self, client: Client, slot: int, connection: int, kinds: int) -> Result:
        """Only for event connections of the same process; a set may register again and adds to what it has."""
        receiver = self._receiver(client, connection)
        if receiver is None or slot >= len(self._model.snapshot().gpus):
            return Result.INVALID_ARGUMENT
        receiver.registered[slot] = receiver.registered.get(slot, 0) | kinds
        return Result.SUCCESS

    def _register_system(self, client: Client, connection: int, kinds: int) -> Result:
        receiver = self._receiver(client, connection)
        if receiver is None:
            return Result.INVALID_ARGUMENT
        receiver.system_events |= kinds
        return Result.SUCCESS

    def _receiver(self, client: Client, connection: int) -> Client | None:
        found = self._find(connection)
        same = found is not None and (found.pid, found.uid) == (client.pid, client.uid)
        return found if same else None


def _reply(result: Result, operation: int) -> bytes:
    return REPLY.packing.pack(MAGIC, int(result), operation, *_NO_VALUES)
