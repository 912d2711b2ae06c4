"""Field selectors: `spec.nodeName=a,status.phase!=Running`."""

from __future__ import annotations

from typing import Any

from claimwright.dra.testing.objects import Object


def matches(item: Object, selector: str) -> bool:
    """Say whether an object fits all terms; a field that is absent counts as empty, as in Kubernetes."""
    return all(_fits(item, term) for term in selector.split(",") if term)


def _fits(item: Object, term: str) -> bool:
    if "!=" in term:
        path, _, value = term.partition("!=")
        return _field(item, path) != value
    path, _, value = term.replace("==", "=").partition("=")
    return _field(item, path) == value


def _field(item: Object, path: str) -> str:
    found: Any = item
    for part in path.split("."):
        found = found.get(part) if isinstance(found, dict) else None
    return "" if found is None else str(found)
