"""16: claims that are prepared at once overwrite each other's state."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence

from claimwright.conformance.mutants.mutation import Mutant, Mutation
from claimwright.conformance.mutants.reference_driver import ReferenceDriver
from claimwright.dra.claims import Claim, ClaimUid
from claimwright.dra.plugin import PreparedDevice

WINDOW_SECONDS = 0.05


class _Races(ReferenceDriver):
    _current: Sequence[Claim] = ()

    async def prepare(
        self, claims: Sequence[Claim]
    ) -> Mapping[ClaimUid, Sequence[PreparedDevice] | Exception]:
        self._current = claims
        await asyncio.sleep(WINDOW_SECONDS)
        mine = dict(await super().prepare(self._current))
        return (
            {claim.uid: mine.get(claim.uid, *mine.values()) for claim in claims} if len(mine) == 1 else mine
        )


MUTANTS = (
    Mutant(
        "16", "mixes up claims that are prepared at once",
        Mutation(make_driver=lambda: _Races, options={"serialize": False}),
    ),
)  # fmt: skip
