"""The door to a plugin's sockets: raw calls, as the kubelet makes them, without its forgiveness.

The suite judges replies, so this client validates nothing and repairs nothing; what the kubelet would refuse must
reach the checks. (claimwright.dra.kubelet is the client for those who want a kubelet's behaviour.)
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any, Final

import grpc
from google.protobuf.json_format import MessageToDict
from google.protobuf.message import Message

from claimwright.conformance.transcript import Transcript
from claimwright.dra._generated import (
    dra_v1_pb2,
    dra_v1beta1_pb2,
    health_v1_pb2,
    health_v1alpha1_pb2,
    registration_pb2,
)

DRA_SERVICES: Final = {
    "v1": "k8s.io.kubelet.pkg.apis.dra.v1.DRAPlugin",
    "v1beta1": "k8s.io.kubelet.pkg.apis.dra.v1beta1.DRAPlugin",
}
HEALTH_SERVICES: Final = {"v1": "v1.DRAResourceHealth", "v1alpha1": "v1alpha1.DRAResourceHealth"}
_DRA_MESSAGES: Final[dict[str, ModuleType]] = {"v1": dra_v1_pb2, "v1beta1": dra_v1beta1_pb2}
_HEALTH_MESSAGES: Final[dict[str, ModuleType]] = {"v1": health_v1_pb2, "v1alpha1": health_v1alpha1_pb2}


@dataclass(frozen=True, slots=True)
class Info:
    """What a plugin says of itself in GetInfo."""

    type: str
    name: str
    endpoint: str
    versions: tuple[str, ...]
    duration_seconds: float


@dataclass(frozen=True, slots=True, order=True)
class PreparedDevice:
    """One device of a Prepare reply."""

    pool: str
    device: str
    requests: tuple[str, ...]
    cdi_ids: tuple[str, ...]
    share_id: str | None = None


@dataclass(frozen=True, slots=True)
class Answer:
    """One claim's entry of a reply; `devices` is empty in answers to Unprepare."""

    error: str
    devices: tuple[PreparedDevice, ...] = ()


@dataclass(frozen=True, slots=True)
class Reply:
    """A whole reply: entries by claim uid, or the gRPC error that came instead."""

    answers: dict[str, Answer]
    rpc_error: str = ""
    duration_seconds: float = 0.0

    def error_of(self, uid: str) -> str:
        """Return why a claim failed: its own entry, the call's error, or that it was left out."""
        if self.rpc_error:
            return self.rpc_error
        return self.answers[uid].error if uid in self.answers else ""


@dataclass(frozen=True, slots=True)
class ClaimName:
    """What the kubelet tells a plugin about a claim."""

    namespace: str
    name: str
    uid: str


@dataclass(slots=True)
class Socket:
    """A client of one unix socket; calls are entered into the transcript."""

    path: Path
    transcript: Transcript
    _channel: grpc.Channel | None = field(default=None, init=False)

    def call(
        self, method: str, request: Message, reply: Callable[[bytes], Message], seconds: float
    ) -> Message:
        """Make one call with a deadline; raises grpc.RpcError as it comes."""
        started = time.monotonic()
        said: dict[str, Any] = {"method": method, "request": _plain(request)}
        try:
            answer: Message = self._method(method, reply)(request, timeout=seconds)
        except grpc.RpcError as error:
            self.transcript.add("grpc", started, **said, error=describe(error))
            raise
        self.transcript.add("grpc", started, **said, reply=_plain(answer))
        return answer

    def stream(self, method: str, request: Message, reply: Callable[[bytes], Message], seconds: float) -> Any:  # noqa: ANN401
        """Open a server stream; the caller iterates and cancels it."""
        self.transcript.add("grpc", time.monotonic(), method=method, stream="opened")
        opened = self._open().unary_stream(method, type(request).SerializeToString, reply)
        return opened(request, timeout=seconds)

    def close(self) -> None:
        """Close the channel; the next call opens a new one."""
        if self._channel is not None:
            self._channel.close()
            self._channel = None

    def _method(self, method: str, reply: Callable[[bytes], Message]) -> Any:  # noqa: ANN401 - grpc has no types here
        return self._open().unary_unary(
            method,
            request_serializer=lambda message: message.SerializeToString(),
            response_deserializer=reply,
        )

    def _open(self) -> grpc.Channel:
        if self._channel is None:
            # Without its own sub-channel pool a new socket at the same path would inherit a predecessor's back-off.
            options = [("grpc.use_local_subchannel_pool", 1), ("grpc.initial_reconnect_backoff_ms", 50)]
            self._channel = grpc.insecure_channel(f"unix:{self.path}", options=options)
        return self._channel


def describe(error: grpc.RpcError) -> str:
    """Return code and text of a gRPC error in one line."""
    code = getattr(error, "code", lambda: None)()
    return f"{code.name if code else 'UNKNOWN'}: {getattr(error, 'details', lambda: '')() or error}"


def get_info(socket: Socket, seconds: float = 1.0) -> Info:
    """Ask a registration socket who is there (the kubelet allows one second)."""
    started = time.monotonic()
    reply = socket.call(
        "/pluginregistration.Registration/GetInfo",
        registration_pb2.InfoRequest(), registration_pb2.PluginInfo.FromString, seconds,
    )  # fmt: skip
    assert isinstance(reply, registration_pb2.PluginInfo)
    duration = time.monotonic() - started
    return Info(reply.type, reply.name, reply.endpoint, tuple(reply.supported_versions), duration)


def notify(socket: Socket, *, registered: bool, error: str = "", seconds: float = 5.0) -> None:
    """Tell a plugin how its registration went (the kubelet allows five seconds)."""
    status = registration_pb2.RegistrationStatus(plugin_registered=registered, error=error)
    method = "/pluginregistration.Registration/NotifyRegistrationStatus"
    socket.call(method, status, registration_pb2.RegistrationStatusResponse.FromString, seconds)


def prepare(socket: Socket, version: str, claims: Sequence[ClaimName], seconds: float = 45.0) -> Reply:
    """Call NodePrepareResources (the kubelet allows 45 seconds)."""
    return _operate(socket, version, "Prepare", claims, seconds)


def unprepare(socket: Socket, version: str, claims: Sequence[ClaimName], seconds: float = 45.0) -> Reply:
    """Call NodeUnprepareResources."""
    return _operate(socket, version, "Unprepare", claims, seconds)


def watch_health(socket: Socket, version: str, seconds: float) -> Any:  # noqa: ANN401 - grpc's call object
    """Open the health stream of one version."""
    messages = _HEALTH_MESSAGES[version]
    method = f"/{HEALTH_SERVICES[version]}/NodeWatchResources"
    request, reply = messages.NodeWatchResourcesRequest(), messages.NodeWatchResourcesResponse.FromString
    return socket.stream(method, request, reply, seconds)


def _operate(socket: Socket, version: str, verb: str, claims: Sequence[ClaimName], seconds: float) -> Reply:
    messages = _DRA_MESSAGES[version]
    method = f"/{DRA_SERVICES[version]}/Node{verb}Resources"
    request = getattr(messages, f"Node{verb}ResourcesRequest")(
        claims=[messages.Claim(namespace=c.namespace, name=c.name, uid=c.uid) for c in claims]
    )
    started = time.monotonic()
    try:
        reply = socket.call(
            method, request, getattr(messages, f"Node{verb}ResourcesResponse").FromString, seconds
        )
    except grpc.RpcError as error:
        return Reply({}, describe(error), time.monotonic() - started)
    return Reply(dict(_entries(reply)), "", time.monotonic() - started)


def _entries(reply: Any) -> Iterator[tuple[str, Answer]]:  # noqa: ANN401 - generated for two versions
    for uid, entry in reply.claims.items():
        yield uid, Answer(entry.error, tuple(_device(one) for one in getattr(entry, "devices", ())))


def _device(message: Any) -> PreparedDevice:  # noqa: ANN401 - generated for two versions
    shared = hasattr(message, "share_id") and message.HasField("share_id")
    return PreparedDevice(
        message.pool_name, message.device_name, tuple(message.request_names), tuple(message.cdi_device_ids),
        message.share_id if shared else None,
    )  # fmt: skip


def _plain(message: Message) -> dict[str, Any]:
    return MessageToDict(message, preserving_proto_field_name=True)
