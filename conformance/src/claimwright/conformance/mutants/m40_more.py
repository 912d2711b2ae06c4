"""40 and up: defects beyond the design's table, for MUSTs that would otherwise have no killer."""

from __future__ import annotations

import socket
from collections.abc import Mapping, Sequence

from claimwright.conformance.mutants.mutation import Call, Mutant, Mutation
from claimwright.conformance.mutants.reference_driver import ReferenceDriver
from claimwright.dra.claims import ClaimReference, ClaimUid
from claimwright.dra.plugin import Plugin


def _dead_endpoint(call: Call) -> None:
    if call.method == "GetInfo":
        call.reply.endpoint += ".old"


def _oldest_first(call: Call) -> None:
    if call.method == "GetInfo":
        call.reply.supported_versions.sort(key=lambda name: name != "v1beta1.DRAPlugin")


def _leave_socket(plugin: Plugin) -> None:
    stale = socket.socket(socket.AF_UNIX)
    stale.bind(plugin.registration_path)
    stale.close()


def _no_devices(call: Call) -> None:
    if call.method == "NodePrepareResources":
        for entry in call.reply.claims.values():
            del entry.devices[:]


def _sub_request_name(call: Call) -> None:
    if call.method == "NodePrepareResources":
        for entry in call.reply.claims.values():
            for device in entry.devices:
                device.request_names[:] = [
                    f"{name}/sub" if name == "base" else name for name in device.request_names
                ]


def _first_device_only(call: Call) -> None:
    if call.method == "NodePrepareResources":
        for entry in call.reply.claims.values():
            del entry.devices[1:]


class _ReleasesAll(ReferenceDriver):
    async def release(self, claims: Sequence[ClaimReference]) -> Mapping[ClaimUid, Exception | None]:
        answer = await super().release(claims)
        for uid in self.held():
            self.forget(ClaimReference("", "", ClaimUid(uid)))
        return answer


def _bare_ids(call: Call) -> None:
    if call.method == "NodePrepareResources":
        for entry in call.reply.claims.values():
            for device in entry.devices:
                device.cdi_device_ids[:] = [one.partition("=")[2] for one in device.cdi_device_ids]


MUTANTS = (
    Mutant("40", "names an endpoint where nobody listens", Mutation(reply=_dead_endpoint)),
    Mutant("41", "advertises the oldest version first", Mutation(reply=_oldest_first)),
    Mutant("43", "leaves its registration socket after SIGTERM", Mutation(stopped=_leave_socket)),
    Mutant("44", "answers with the name of the sub-request", Mutation(reply=_sub_request_name)),
    Mutant("45", "returns the first device of a claim only", Mutation(reply=_first_device_only)),
    Mutant("46", "releases all claims when one is released", Mutation(make_driver=lambda: _ReleasesAll)),
    Mutant("47", "gives CDI ids without vendor and class", Mutation(reply=_bare_ids)),
    Mutant("48", "answers success without doing anything", Mutation(reply=_no_devices)),
)
