"""8: every claim gets all devices of the node."""

from __future__ import annotations

from claimwright.conformance.mutants.mutation import Call, Mutant, Mutation

DEVICES = ("example-0", "example-1", "example-2", "example-3")


def _all(call: Call) -> None:
    if call.method != "NodePrepareResources":
        return
    for entry in call.reply.claims.values():
        got = {device.device_name for device in entry.devices}
        for name in DEVICES if got else ():
            if name not in got:
                added = entry.devices.add()
                added.CopyFrom(entry.devices[0])
                added.device_name = name


MUTANTS = (Mutant("8", "returns all devices of the node", Mutation(reply=_all)),)
