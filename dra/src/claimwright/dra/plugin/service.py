"""The DRA service on the wire, v1 and v1beta1 over the same calls."""

from __future__ import annotations

import grpc

from claimwright.dra._generated import dra_v1_pb2 as v1
from claimwright.dra._generated import dra_v1_pb2_grpc, dra_v1beta1_pb2_grpc
from claimwright.dra._generated import dra_v1beta1_pb2 as v1beta1
from claimwright.dra.plugin.calls import Calls
from claimwright.dra.wire import DraVersion, references_of, v1_device, v1beta1_device


class ServiceV1(dra_v1_pb2_grpc.DRAPluginServicer):
    """DRA v1."""

    def __init__(self, calls: Calls) -> None:
        self._calls = calls

    async def NodePrepareResources(
        self, request: v1.NodePrepareResourcesRequest, context: object
    ) -> v1.NodePrepareResourcesResponse:
        """Prepare the claims of the request."""
        reply = v1.NodePrepareResourcesResponse()
        for uid, outcome in (await self._calls.prepare(references_of(request.claims))).items():
            if isinstance(outcome, str):
                reply.claims[uid].error = outcome
            else:
                reply.claims[uid].devices.extend([v1_device(device) for device in outcome])
        return reply

    async def NodeUnprepareResources(
        self, request: v1.NodeUnprepareResourcesRequest, context: object
    ) -> v1.NodeUnprepareResourcesResponse:
        """Release the claims of the request."""
        reply = v1.NodeUnprepareResourcesResponse()
        for uid, error in (await self._calls.release(references_of(request.claims))).items():
            reply.claims[uid].error = error
        return reply


class ServiceV1beta1(dra_v1beta1_pb2_grpc.DRAPluginServicer):
    """DRA v1beta1: the same without share ids."""

    def __init__(self, calls: Calls) -> None:
        self._calls = calls

    async def NodePrepareResources(
        self, request: v1beta1.NodePrepareResourcesRequest, context: object
    ) -> v1beta1.NodePrepareResourcesResponse:
        """Prepare the claims of the request."""
        reply = v1beta1.NodePrepareResourcesResponse()
        for uid, outcome in (await self._calls.prepare(references_of(request.claims))).items():
            if isinstance(outcome, str):
                reply.claims[uid].error = outcome
            else:
                reply.claims[uid].devices.extend([v1beta1_device(device) for device in outcome])
        return reply

    async def NodeUnprepareResources(
        self, request: v1beta1.NodeUnprepareResourcesRequest, context: object
    ) -> v1beta1.NodeUnprepareResourcesResponse:
        """Release the claims of the request."""
        reply = v1beta1.NodeUnprepareResourcesResponse()
        for uid, error in (await self._calls.release(references_of(request.claims))).items():
            reply.claims[uid].error = error
        return reply


def add_dra_services(server: grpc.aio.Server, calls: Calls, versions: tuple[DraVersion, ...]) -> None:
    """Serve the DRA versions that the plugin advertises."""
    if "v1" in versions:
        dra_v1_pb2_grpc.add_DRAPluginServicer_to_server(ServiceV1(calls), server)
    if "v1beta1" in versions:
        dra_v1beta1_pb2_grpc.add_DRAPluginServicer_to_server(ServiceV1beta1(calls), server)
