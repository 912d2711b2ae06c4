"""12: Unprepare fails for a claim that is not prepared."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from claimwright.conformance.mutants.mutation import Mutant, Mutation
from claimwright.conformance.mutants.reference_driver import ReferenceDriver, Refusal
from claimwright.dra.claims import ClaimReference, ClaimUid


class _RefusesUnknown(ReferenceDriver):
    async def release(self, claims: Sequence[ClaimReference]) -> Mapping[ClaimUid, Exception | None]:
        held = self.held()
        await super().release(claims)
        return {claim.uid: None if claim.uid in held else Refusal("not prepared") for claim in claims}


MUTANTS = (Mutant("12", "fails to release an unknown claim", Mutation(make_driver=lambda: _RefusesUnknown)),)
