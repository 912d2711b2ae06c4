"""Field selectors, `spec.nodeName=a,status.phase!=Running`, and label selectors, `a,!b,c=d,e!=f`."""

from __future__ import annotations

import re
from typing import Any, Final

from claimwright.dra.testing.objects import Object, Refused

_LABEL_TERM: Final = re.compile(r"(?P<no>!?)(?P<key>[\w./-]+)(?:(?P<sign>==?|!=)(?P<value>[\w.-]*))?")


def matches(item: Object, selector: str) -> bool:
    """Say whether an object fits all terms; a field that is absent counts as empty, as in Kubernetes."""
    return all(_fits(item, term) for term in selector.split(",") if term)


def has_labels(item: Object, selector: str) -> bool:
    """Say whether an object's labels fit all terms; refused with 400 for the set-based ones of Kubernetes."""
    labels = (item.get("metadata") or {}).get("labels") or {}
    # All are read before one decides: what cannot be understood must not list, or delete, what was not asked for.
    return all([_label_fits(labels, term) for term in selector.split(",") if term])  # noqa: C419


def _label_fits(labels: Object, term: str) -> bool:
    read = _LABEL_TERM.fullmatch(term)
    if read is None or (read["no"] and read["sign"]):
        raise Refused(400, "BadRequest", f"the fake API knows labels a, !a, a=b and a!=b, got {term!r}")
    if read["sign"] is None:
        return (read["key"] in labels) != bool(read["no"])
    return (labels.get(read["key"]) == read["value"]) == (read["sign"] != "!=")


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
