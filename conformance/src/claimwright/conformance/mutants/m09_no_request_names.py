"""9: with several requests in a claim, the devices name none of them."""

from __future__ import annotations

from claimwright.conformance.mutants.mutation import Call, Mutant, Mutation


def _forget_names(call: Call) -> None:
    if call.method != "NodePrepareResources":
        return
    for entry in call.reply.claims.values():
        if len({name for device in entry.devices for name in device.request_names}) > 1:
            for device in entry.devices:
                del device.request_names[:]


MUTANTS = (Mutant("9", "leaves request_names empty", Mutation(reply=_forget_names)),)
