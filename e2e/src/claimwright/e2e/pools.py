"""ResourceSlices as the API server has them, whole pools only."""

from __future__ import annotations

from collections import defaultdict
from typing import Any, Final

from claimwright.e2e.kubernetes_door import Kubernetes

_SLICES: Final = "/apis/resource.k8s.io/v1/resourceslices"


def whole_slices(kubernetes: Kubernetes, selector: str) -> list[dict[str, Any]]:
    """Return the slices that a field selector finds, none while one of their pools is being written.

    A scheduler does not use such a pool either: half of what it offers, or of what excludes it, is not there.
    """
    found = list(kubernetes.get(_SLICES, fieldSelector=selector)["items"])
    counts: defaultdict[tuple[str, str], list[int]] = defaultdict(list)
    for each in found:
        pool = each["spec"]["pool"]
        counts[each["spec"]["driver"], pool["name"]].append(pool["resourceSliceCount"])
    is_whole = all(expected == len(pool) for pool in counts.values() for expected in pool)
    return found if is_whole else []
