"""17: opaque configuration is never looked at."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from claimwright.conformance.mutants.mutation import Mutant, Mutation
from claimwright.conformance.mutants.reference_driver import ReferenceDriver


class _Ignores(ReferenceDriver):
    def check_config(self, parameters: Mapping[str, Any]) -> None:
        """Accept anything."""


MUTANTS = (Mutant("17", "ignores opaque configuration", Mutation(make_driver=lambda: _Ignores)),)
