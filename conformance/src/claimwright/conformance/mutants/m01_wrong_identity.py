"""1: the plugin registers with a wrong type, or under a name that is not the one in its slices."""

from __future__ import annotations

from claimwright.conformance.mutants.mutation import Call, Mutant, Mutation


def _wrong_type(call: Call) -> None:
    if call.method == "GetInfo":
        call.reply.type = "CSIPlugin"


def _wrong_name(call: Call) -> None:
    if call.method == "GetInfo":
        call.reply.name = "renamed.example.claimwright.dev"


MUTANTS = (
    Mutant("1a", "registers with another plugin type", Mutation(reply=_wrong_type)),
    Mutant("1b", "registers under another name than its slices carry", Mutation(reply=_wrong_name)),
)
