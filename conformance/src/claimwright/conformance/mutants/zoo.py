"""All mutants by their ids."""

from __future__ import annotations

import importlib
import pkgutil
import re
from collections.abc import Mapping
from functools import cache

from claimwright.conformance import mutants
from claimwright.conformance.errors import UsageError
from claimwright.conformance.mutants.mutation import Mutant


@cache
def load_zoo() -> Mapping[str, Mutant]:
    """Return the mutants of every module named `m<number>_…`, in the order of their numbers."""
    names = sorted(
        info.name for info in pkgutil.iter_modules(mutants.__path__) if re.match(r"m\d", info.name)
    )
    found = [one for name in names for one in importlib.import_module(f"{mutants.__name__}.{name}").MUTANTS]
    return {mutant.id: mutant for mutant in found}


def find_mutant(identifier: str) -> Mutant:
    """Return one mutant; an unknown id is the user's to correct."""
    try:
        return load_zoo()[identifier]
    except KeyError:
        raise UsageError(f"{identifier!r} is no mutant; there are {', '.join(load_zoo())}") from None
