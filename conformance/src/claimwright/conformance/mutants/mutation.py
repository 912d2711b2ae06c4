"""How a mutant differs from the reference driver: one hook of these, the rest as they are.

Replies are changed on the wire, by an interceptor of the mutant's own process, so that the plugin kit stays what
it is and every defect is seen exactly as a kubelet would see it.
"""

from __future__ import annotations

import asyncio
import functools
import inspect
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeAlias

import grpc

from claimwright.dra.kube import Kube
from claimwright.dra.plugin import Plugin
from claimwright.dra.slices import Device, Pool

if TYPE_CHECKING:
    from claimwright.conformance.mutants.reference_driver import ReferenceDriver

Devices: TypeAlias = tuple[Device, ...]


@dataclass(slots=True)
class Call:
    """One answered call, before its reply leaves: `reply` is a protobuf message to change in place."""

    method: str
    request: Any
    reply: Any
    plugin: Plugin


class CallFails(Exception):
    """Raised by a reply hook: the call ends with this text as its gRPC error."""


def _driver() -> type[ReferenceDriver]:
    from claimwright.conformance.mutants.reference_driver import ReferenceDriver  # noqa: PLC0415 - made on it

    return ReferenceDriver


async def _nothing_meanwhile(_plugin: Plugin, _pool: Pool) -> None:
    await asyncio.Event().wait()


@dataclass(frozen=True, slots=True)
class Mutation:
    """The hooks; a mutant sets one of them."""

    reply: Callable[[Call], Awaitable[None] | None] | None = None
    make_driver: Callable[[], type[ReferenceDriver]] = _driver
    devices: Callable[[Devices], Devices] = lambda devices: devices
    kube: type[Kube] = Kube
    options: Mapping[str, Any] = field(default_factory=dict)
    meanwhile: Callable[[Plugin, Pool], Coroutine[Any, Any, None]] = _nothing_meanwhile
    stopped: Callable[[Plugin], None] = lambda _plugin: None

    @property
    def driver(self) -> type[ReferenceDriver]:
        """Return the driver's class, changed or not."""
        return self.make_driver()


HONEST = Mutation()


@dataclass(frozen=True, slots=True)
class Mutant:
    """A deliberate defect: its number in the table of the suite's design (from 40 on: our own additions)."""

    id: str
    title: str
    mutation: Mutation


class _Interceptor(grpc.aio.ServerInterceptor):  # type: ignore[type-arg]  # generic in the stubs only
    def __init__(self, mutation: Mutation, plugin: Plugin) -> None:
        self._mutation, self._plugin = mutation, plugin

    async def intercept_service(self, continuation: Any, details: Any) -> Any:  # noqa: ANN401 - grpc's own types
        handler = await continuation(details)
        if handler is None or handler.unary_unary is None:
            return handler

        async def answer(request: Any, context: Any) -> Any:  # noqa: ANN401 - protobuf messages
            return await self._changed(handler.unary_unary, details.method, request, context)

        return grpc.unary_unary_rpc_method_handler(
            answer,
            request_deserializer=handler.request_deserializer,
            response_serializer=handler.response_serializer,
        )

    async def _changed(self, behaviour: Any, method: str, request: Any, context: Any) -> Any:  # noqa: ANN401
        reply = await behaviour(request, context)
        call = Call(method.rpartition("/")[2], request, reply, self._plugin)
        assert self._mutation.reply is not None
        try:
            pending = self._mutation.reply(call)
            if inspect.isawaitable(pending):
                await pending
        except CallFails as failure:
            await context.abort(grpc.StatusCode.INTERNAL, str(failure))
        return call.reply


def apply_to_process(mutation: Mutation, plugin: Plugin) -> None:
    """Put the reply hook into every gRPC server that this process makes from now on."""
    if mutation.reply is not None:
        interceptor = _Interceptor(mutation, plugin)
        grpc.aio.server = functools.partial(grpc.aio.server, interceptors=(interceptor,))
