"""Names that stand twice in one JSON object: legal JSON of which Kubernetes refuses the doubt."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from claimwright.driver.configs.decoding import strict_error
from claimwright.driver.errors import ClaimRefused
from claimwright.driver.quoting import quoted

# Deeper than any config; what is below is refused as unknown anyway.
_DEEPEST = 8


class Doubled(dict[str, Any]):
    """A JSON object with names that stand twice; the last value of each counts."""

    names: tuple[str, ...] = ()


def keep_duplicates(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    """Make an object of its members, as `object_pairs_hook` of `json.loads`, noting doubled names."""
    plain = dict(pairs)
    if len(plain) == len(pairs):
        return plain
    found = Doubled(plain)
    found.names = tuple(name for name, count in Counter(name for name, _ in pairs).items() if count > 1)
    return found


def refuse_duplicates(value: object) -> None:
    """Raise ClaimRefused when any object of a config has a name twice."""
    twice = [f"duplicate field {quoted(path)}" for path in _paths(value, ())]
    if twice:
        raise ClaimRefused(strict_error(twice))


def _paths(value: object, at: tuple[str, ...]) -> Iterator[str]:
    if isinstance(value, Doubled):
        yield from (".".join((*at, name)) for name in value.names)
    if isinstance(value, Mapping) and len(at) < _DEEPEST:
        for name, inner in value.items():
            yield from _paths(inner, (*at, name))
