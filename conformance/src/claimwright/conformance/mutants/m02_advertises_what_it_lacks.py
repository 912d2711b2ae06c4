"""2: v1 is advertised, but only v1beta1 is served."""

from __future__ import annotations

from claimwright.conformance.mutants.mutation import Call, Mutant, Mutation


def _claim_v1(call: Call) -> None:
    if call.method == "GetInfo":
        call.reply.supported_versions.insert(0, "v1.DRAPlugin")


MUTANTS = (
    Mutant(
        "2",
        "advertises v1 and serves v1beta1 only",
        Mutation(reply=_claim_v1, options={"versions": ("v1beta1",)}),
    ),
)
