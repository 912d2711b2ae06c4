"""Merge patches (RFC 7386), and strategic ones, whose lists merge by a key of the list's type."""

from __future__ import annotations

from collections.abc import Mapping
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
