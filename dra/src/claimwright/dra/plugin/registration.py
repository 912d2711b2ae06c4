"""The registration service: tells the kubelet who the plugin is, and hears its verdict."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Final

import grpc

from claimwright.dra._generated import registration_pb2, registration_pb2_grpc
from claimwright.dra.wire import PLUGIN_TYPE

_LOG: Final = logging.getLogger(__name__)


class Registration(registration_pb2_grpc.RegistrationServicer):
    """Answers GetInfo and remembers what the kubelet said last; `on_again` hears of a kubelet that came anew."""

    def __init__(self, driver: str, endpoint: str, supported_versions: tuple[str, ...]) -> None:
        self.registered = asyncio.Event()
        self.error = ""
        self.on_again: Callable[[], None] = lambda: None
        self._info = registration_pb2.PluginInfo(
            type=PLUGIN_TYPE, name=driver, endpoint=endpoint, supported_versions=supported_versions
        )

    async def GetInfo(
        self, request: registration_pb2.InfoRequest, context: object
    ) -> registration_pb2.PluginInfo:
        """Say type, name, endpoint and services."""
        return self._info

    async def NotifyRegistrationStatus(
        self, request: registration_pb2.RegistrationStatus, context: object
    ) -> registration_pb2.RegistrationStatusResponse:
        """Hear whether the kubelet took the plugin."""
        extra = {"driver": self._info.name, "endpoint": self._info.endpoint}
        self.error = request.error
        if request.plugin_registered:
            if self.registered.is_set():
                self.on_again()
            self.registered.set()
            _LOG.info("the kubelet registered the plugin", extra=extra)
        else:
            self.registered.clear()
            _LOG.error("the kubelet refused the plugin: %s", request.error, extra=extra)
        return registration_pb2.RegistrationStatusResponse()

    def add_to(self, server: grpc.aio.Server) -> None:
        """Serve it."""
        registration_pb2_grpc.add_RegistrationServicer_to_server(self, server)
