"""One request in, one reply out: finds the answer, and turns every way it can end into a return code."""

from __future__ import annotations

import logging

from claimwright.emulator.model import NodeModel, OperationRefused
from claimwright.emulator.nvml.answers import wire
from claimwright.emulator.nvml.answers.call import Call, Refused
from claimwright.emulator.nvml.answers.table import answers
from claimwright.emulator.nvml.client import Client
from claimwright.emulator.nvml.history import History
from claimwright.emulator.nvml.layout import Result

_log = logging.getLogger(__name__)


def answer_call(
    model: NodeModel, history: History, client: Client, packet: bytes | memoryview, number: int
) -> tuple[Result, bytes]:
    """Return the return code and the parts of the reply; wire.Malformed when the packet is no call."""
    shape, given = wire.read_call(packet, number)
    call = Call(model, history, client, shape.name, wire.rooms(given))
    try:
        answer = answers().get(shape.name)
        if answer is None:
            return Result.NOT_SUPPORTED, b""
        return Result.SUCCESS, wire.reply_parts(shape, given, answer(call, *wire.inputs(given)))
    except wire.DoesNotFit as counts:
        return Result.INSUFFICIENT_SIZE, counts.args[0]
    except Refused as refused:
        return refused.result, b""
    except OperationRefused as refused:
        return Result[refused.reason.name], b""
    except Exception:  # noqa: BLE001 - the top of a request: one client's call must not end the node
        _log.exception("%s failed", shape.name)
        return Result.UNKNOWN, b""
