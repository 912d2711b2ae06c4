"""4: the reply to a batch lacks one of its claims."""

from __future__ import annotations

from claimwright.conformance.mutants.mutation import Call, Mutant, Mutation


def _omit(call: Call) -> None:
    if call.method == "NodePrepareResources" and len(call.request.claims) > 1:
        del call.reply.claims[call.request.claims[-1].uid]


MUTANTS = (Mutant("4", "leaves one claim out of the reply to a batch", Mutation(reply=_omit)),)
