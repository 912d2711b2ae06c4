"""11: the CDI spec stays after Unprepare."""

from __future__ import annotations

from claimwright.conformance.mutants.mutation import Mutant, Mutation
from claimwright.conformance.mutants.reference_driver import ReferenceDriver


class _KeepsSpecs(ReferenceDriver):
    def remove_spec(self, uid: str) -> None:
        """Leave it."""


MUTANTS = (Mutant("11", "leaves the CDI spec after Unprepare", Mutation(make_driver=lambda: _KeepsSpecs)),)
