"""5: Prepare succeeds for a claim that is not there, or that has another uid by now."""

from __future__ import annotations

from collections.abc import Callable

from claimwright.conformance.mutants.mutation import Call, Mutant, Mutation


def _succeed_on(text: str) -> Callable[[Call], None]:
    def change(call: Call) -> None:
        if call.method != "NodePrepareResources":
            return
        for entry in call.reply.claims.values():
            if text in entry.error:
                entry.error = ""
                entry.devices.add(
                    pool_name="any", device_name="example-0", cdi_device_ids=["example/device=any"]
                )

    return change


MUTANTS = (
    Mutant("5a", "prepares a claim that does not exist", Mutation(reply=_succeed_on("does not exist"))),
    Mutant("5b", "prepares a claim whose uid is stale", Mutation(reply=_succeed_on("got replaced"))),
)
