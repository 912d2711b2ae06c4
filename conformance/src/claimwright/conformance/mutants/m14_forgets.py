"""14: what was prepared is known in memory only, and lost with the process."""

from __future__ import annotations

from claimwright.conformance.mutants.mutation import Mutant, Mutation
from claimwright.conformance.mutants.reference_driver import ReferenceDriver
from claimwright.dra.claims import ClaimReference


class _Forgets(ReferenceDriver):
    def __init__(self, *arguments: object) -> None:
        super().__init__(*arguments)  # type: ignore[arg-type]  # handed through as they came
        for path in self.state.glob("*.json"):
            path.unlink()

    def forget(self, claim: ClaimReference) -> None:
        if claim.uid in self.held():
            super().forget(claim)


MUTANTS = (Mutant("14", "forgets prepared claims at a restart", Mutation(make_driver=lambda: _Forgets)),)
