"""7: the returned device is not the allocated one, but of another pool."""

from __future__ import annotations

from claimwright.conformance.mutants.mutation import Call, Mutant, Mutation


def _move(call: Call) -> None:
    if call.method == "NodePrepareResources":
        for entry in call.reply.claims.values():
            for device in entry.devices:
                device.pool_name = "another-pool"


MUTANTS = (Mutant("7", "returns a device of another pool", Mutation(reply=_move)),)
