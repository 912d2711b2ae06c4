"""18: one claim's failure becomes the error of the whole call."""

from __future__ import annotations

from claimwright.conformance.mutants.mutation import Call, CallFails, Mutant, Mutation


def _fail_all(call: Call) -> None:
    errors = (
        [entry.error for entry in call.reply.claims.values() if entry.error] if "Node" in call.method else []
    )
    if errors:
        raise CallFails(errors[0])


MUTANTS = (Mutant("18", "fails the whole batch for one claim", Mutation(reply=_fail_all)),)
