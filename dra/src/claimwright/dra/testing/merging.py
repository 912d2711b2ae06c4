"""Merge patches (RFC 7386), strategic ones, whose lists merge by a key of their type, and applied configurations."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from claimwright.dra.testing.objects import Object

# patchMergeKey of the lists that a kubelet patches, in k8s.io/api/core/v1/types.go.
STRATEGIC: Final[Mapping[str, str]] = {
    "conditions": "type",
    "podIPs": "ip",
    "hostIPs": "ip",
    "addresses": "type",
}
REPLACING: Final[Mapping[str, str]] = {}
# x-kubernetes-list-map-keys of the lists that are applied; others are replaced as a whole.
APPLYING: Final[Mapping[str, str]] = {
    **STRATEGIC,
    "ownerReferences": "uid",
    "daemons": "nodeName",
    "nodes": "name",
}


def merge(target: Any, patch: Any, keys: Mapping[str, str], field: str = "") -> Any:  # noqa: ANN401  # JSON
    """Merge a patch into a value: null removes, objects merge, lists named in `keys` merge by that key."""
    if isinstance(patch, dict):
        merged = dict(target) if isinstance(target, dict) else {}
        for name, value in patch.items():
            if value is None:
                merged.pop(name, None)
            else:
                merged[name] = merge(merged.get(name), value, keys, name)
        return merged
    if isinstance(patch, list) and field in keys:
        return _merge_list(target or [], patch, keys, keys[field])
    return patch


def _merge_list(
    target: list[Object], patch: list[Object], keys: Mapping[str, str], merge_key: str
) -> list[Object]:
    merged = {item[merge_key]: item for item in target}
    for item in patch:
        merged[item[merge_key]] = merge(merged.get(item[merge_key]), item, keys)
    return list(merged.values())


def apply(live: Any, before: Any, wanted: Any, others: Sequence[Any], field: str = "") -> Any:  # noqa: ANN401  # JSON
    """Give what a live value becomes when a field manager applies `wanted` after it had applied `before`.

    What it applied before and does not want any more goes, unless one of the `others` applied it, too. Every apply
    takes over what it names, as with `force`; what was written without an apply has no owner here.
    """
    if isinstance(wanted, dict):
        return _apply_fields(live, before, wanted, others)
    if isinstance(wanted, list) and field in APPLYING:
        key = APPLYING[field]
        rows = [_by_key(each, key) for each in (live, before, wanted, *others)]
        return list(_apply_fields(rows[0], rows[1], rows[2], rows[3:]).values())
    return wanted


def _apply_fields(live: Any, before: Any, wanted: Object, others: Sequence[Any]) -> Object:  # noqa: ANN401
    fields = dict(live) if isinstance(live, dict) else {}
    known = before if isinstance(before, dict) else {}
    for name in known.keys() - wanted.keys():
        owners = [each[name] for each in others if isinstance(each, dict) and name in each]
        left = _withdraw(fields.get(name), known[name], owners, name)
        fields.pop(name, None)
        if left is not None:
            fields[name] = left
    for name, value in wanted.items():
        theirs = [each[name] for each in others if isinstance(each, dict) and name in each]
        fields[name] = apply(fields.get(name), known.get(name), value, theirs, name)
    return fields


def _withdraw(live: Any, before: Any, others: Sequence[Any], field: str) -> Any:  # noqa: ANN401
    """Give what is left of a value that its manager applies no more; None where nothing is."""
    if isinstance(before, list) and field in APPLYING:
        return apply(live, before, [], others, field) or (live[:0] if others else None)
    if isinstance(before, dict):
        return _apply_fields(live, before, {}, others) or ({} if others else None)
    return live if others else None


def _by_key(rows: Any, key: str) -> Object:  # noqa: ANN401
    return {row[key]: row for row in rows or ()}
