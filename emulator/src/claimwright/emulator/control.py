"""The control socket of a running node: one JSON request a line, one JSON answer a line.

`{"operation": "lose", "arguments": {"gpu": 3}}` is answered by `{"result": {...}}`, the GPU's new state, or by
`{"refused": "NOT_FOUND", "message": "..."}`. Only the node's owner can reach it (mode 0600).
"""

from __future__ import annotations

import asyncio
import inspect
import json
import os
import socket
from collections.abc import AsyncGenerator, Callable, Iterable, Iterator, Mapping
from contextlib import aclosing, contextmanager
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from claimwright.emulator.description import describe, describe_value
from claimwright.emulator.errors import EmulatorError, NodeError, NodeGone, OperationRefused, Refusal
from claimwright.emulator.model import NodeModel
from claimwright.emulator.model.operations import TABLE
from claimwright.emulator.nvml.socket_paths import short_path

if TYPE_CHECKING:
    from pydantic import BaseModel

SNAPSHOT = "snapshot"
_LINE_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class Services:
    """What a node process answers beside the operations of its model.

    `calls` are answered like operations. `streams` answer line after line until the caller hangs up, or the stream
    ends: each gets the arguments and gives JSON values.
    """

    calls: Mapping[str, Callable[..., Any]] = field(default_factory=dict)
    streams: Mapping[str, Callable[..., AsyncGenerator[Any, None]]] = field(default_factory=dict)


async def serve(path: Path, model: NodeModel, services: Services = Services()) -> asyncio.Server:
    """Listen at `path` until the returned server is closed."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while line := await reader.readline():
                if (stream := _stream(services, line)) is not None:
                    await _send_all(stream, reader, writer)
                    return
                writer.write(json.dumps(_answer(model, services, line)).encode() + b"\n")
                await writer.drain()
        except (ConnectionError, ValueError):
            pass  # the caller is gone, or sent a line beyond the limit: it gets no answer, others do
        finally:
            writer.close()

    with short_path(path) as short:
        server = await asyncio.start_unix_server(answer, short, limit=_LINE_BYTES)
        os.chmod(short, 0o600)  # noqa: PTH101 - a system call that cannot block
    return server


def call(
    path: Path, operation: str, arguments: Mapping[str, object], *, timeout_seconds: float = 10.0
) -> Any:  # noqa: ANN401
    """Ask a running node; OperationRefused as the hardware says, NodeError when the node does not answer."""
    request = json.dumps({"operation": operation, "arguments": dict(arguments)}).encode() + b"\n"
    try:
        with socket.socket(socket.AF_UNIX) as connection, short_path(path) as short:
            connection.settimeout(timeout_seconds)
            connection.connect(short)
            connection.sendall(request)
            with connection.makefile("rb") as answers:
                answer = json.loads(answers.readline() or b"null")
    except OSError as error:
        raise NodeError(
            f"node {path.parent.name!r} does not answer: {error} (folder {path.parent})"
        ) from error
    if answer is None:
        raise NodeError(f"node {path.parent.name!r} ended the call {operation!r} without an answer")
    if "refused" in answer:
        raise OperationRefused(Refusal(answer["refused"]), answer["message"])
    return answer["result"]


@contextmanager
def follow(path: Path, stream: str, arguments: Mapping[str, object]) -> Iterator[Iterator[Any]]:
    """Give the values of a stream of a running node; NodeError when the node is not there, NodeGone when it goes."""
    request = json.dumps({"operation": stream, "arguments": dict(arguments)}).encode() + b"\n"
    with socket.socket(socket.AF_UNIX) as connection:
        try:
            with short_path(path) as short:
                connection.connect(short)
            connection.sendall(request)
        except OSError as error:
            raise NodeError(
                f"node {path.parent.name!r} does not answer: {error} (folder {path.parent})"
            ) from error
        with connection.makefile("rb") as lines:
            yield _values(lines, path)


def _values(lines: Iterable[bytes], path: Path) -> Iterator[Any]:
    for line in lines:
        value = json.loads(line)
        if "refused" in value:
            raise OperationRefused(Refusal(value["refused"]), value["message"])
        yield value
        if value.get("end"):
            return
    raise NodeGone(f"node {path.parent.name!r} has gone: its process ended (folder {path.parent})")


def _stream(services: Services, line: bytes) -> AsyncGenerator[Any, None] | None:
    try:
        request = _read(line)
        make = services.streams.get(request["operation"])
        return None if make is None else make(**request.get("arguments", {}))
    except (ValueError, KeyError, TypeError, AttributeError):
        return None  # no request for a stream: answered, or refused, as a call


async def _send_all(
    stream: AsyncGenerator[Any, None], reader: asyncio.StreamReader, writer: asyncio.StreamWriter
) -> None:
    """Send what a stream gives until it ends or the caller hangs up, which ends it too."""

    async def send() -> None:
        async with aclosing(stream):
            async for value in stream:
                writer.write(json.dumps(value).encode() + b"\n")
                await writer.drain()

    sending = asyncio.ensure_future(send())
    hung_up = asyncio.ensure_future(reader.read(1))
    try:
        await asyncio.wait({sending, hung_up}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in (sending, hung_up):
            task.cancel()
        await asyncio.gather(sending, hung_up, return_exceptions=True)


def _read(line: bytes) -> Any:  # noqa: ANN401 - JSON
    try:
        return json.loads(line)
    except RecursionError:
        raise ValueError("nested too deeply") from None


def _answer(model: NodeModel, services: Services, line: bytes) -> dict[str, Any]:
    try:
        request = _read(line)
        operation, arguments = request["operation"], request.get("arguments", {})
        if operation in services.calls:
            return {"result": services.calls[operation](**arguments)}
        return {"result": apply(model, operation, arguments)}
    except OperationRefused as error:
        return {"refused": error.reason, "message": error.said}
    except EmulatorError as error:
        return {"refused": Refusal.INVALID_ARGUMENT, "message": str(error)}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        return {"refused": Refusal.INVALID_ARGUMENT, "message": f"no request: {error!r}"}


def apply(model: NodeModel, operation: str, arguments: Mapping[str, object]) -> Any:  # noqa: ANN401 - JSON
    """Apply an operation by name, arguments as JSON gives them; OperationRefused names what does not fit."""
    if operation == SNAPSHOT:
        return describe(model.snapshot())
    named = check(operation, arguments)
    return describe_value(model.perform(TABLE[operation], **named))


def check(operation: str, arguments: Mapping[str, object]) -> dict[str, Any]:
    """Return the arguments of an operation as it takes them; OperationRefused names what does not fit."""
    if operation not in TABLE:
        known = ", ".join((SNAPSHOT, *TABLE))
        raise OperationRefused(Refusal.INVALID_ARGUMENT, f"unknown operation {operation!r}; known: {known}")
    from pydantic import ValidationError  # noqa: PLC0415 - slow to load, and not needed to be ready

    try:
        given = _arguments(operation).model_validate(dict(arguments))
    except ValidationError as error:
        faults = "; ".join(f"{'.'.join(map(str, fault['loc']))}: {fault['msg']}" for fault in error.errors())
        raise OperationRefused(Refusal.INVALID_ARGUMENT, f"{operation}: {faults}") from None
    return {name: getattr(given, name) for name in type(given).model_fields}


@cache
def _arguments(operation: str) -> type[BaseModel]:
    """Return what an operation takes beside the state, as a model that reads JSON."""
    from pydantic import ConfigDict, create_model  # noqa: PLC0415 - see check

    from claimwright.emulator.model.checking import real  # noqa: PLC0415 - see check

    parameters = list(inspect.signature(TABLE[operation], eval_str=True).parameters.values())[1:]
    fields: dict[str, Any] = {
        each.name: (real(each.annotation), ... if each.default is each.empty else each.default)
        for each in parameters
    }
    return create_model(operation, __config__=ConfigDict(extra="forbid"), **fields)
