"""All that the controller knows of the cluster, by domain."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final

from claimwright.dra.kube import DAEMON_SETS, NODES, PODS, RESOURCE_CLAIM_TEMPLATES, Kube
from claimwright.driver.computedomain.controller.cache import Cache
from claimwright.driver.computedomain.resources import CLIQUES, COMPUTE_DOMAINS, TARGET

Object = dict[str, Any]
_STOP_SECONDS: Final = 5.0


class View:
    """Domains, and what carries the label of one; `wake` gets the uid of each domain of which something changed."""

    def __init__(self, kube: Kube, namespaces: Sequence[str], wake: Callable[[str], None]) -> None:
        self._domains = Cache(kube, COMPUTE_DOMAINS, wake, uid_of=lambda item: str(item["metadata"]["uid"]))
        self._templates = Cache(kube, RESOURCE_CLAIM_TEMPLATES, wake)
        self._nodes = Cache(kube, NODES, wake, trim=_label_bearer)
        self._daemon_sets = [Cache(kube, DAEMON_SETS, wake, namespace=each) for each in namespaces]
        self._pods = [Cache(kube, PODS, wake, namespace=each, trim=_pod_core) for each in namespaces]
        self._cliques = [Cache(kube, CLIQUES, wake, namespace=each) for each in namespaces]
        self._all = (
            self._domains, self._templates, self._nodes, *self._daemon_sets, *self._pods, *self._cliques
        )  # fmt: skip

    def start(self) -> None:
        """Begin to follow the cluster; returns at once."""
        for cache in self._all:
            cache.start()

    def stop(self) -> None:
        """Stop following; all together have a few seconds for requests that are under way."""
        deadline = time.monotonic() + _STOP_SECONDS
        for cache in self._all:
            cache.stop(timeout_seconds=max(0.0, deadline - time.monotonic()))

    def unread(self) -> list[str]:
        """Name what could not be read yet; until then nothing must be decided."""
        return [cache.what for cache in self._all if not cache.synced.is_set()]

    def wait_read(self, seconds: float) -> bool:
        """Wait until everything was read once, but no longer than about `seconds`."""
        return all(cache.synced.wait(seconds) for cache in self._all)

    def uids(self) -> set[str]:
        """Return the uids of all domains, also of those of which only traces are left."""
        return set(itertools.chain.from_iterable(cache.uids() for cache in self._all))

    def domains(self) -> list[Object]:
        """Return all domains."""
        return [item for uid in self._domains.uids() for item in self._domains.of(uid)]

    def domain(self, uid: str) -> Object | None:
        """Return the domain, or None when there is none of that uid."""
        return next(iter(self._domains.of(uid)), None)

    def templates(self, uid: str) -> list[Object]:
        """Return its claim templates; what has its label without saying for whom it is, is somebody else's."""
        return [item for item in self._templates.of(uid) if TARGET in item["metadata"]["labels"]]

    def daemon_sets(self, uid: str) -> list[Object]:
        """Return its daemon sets, that of the driver's namespace first."""
        return _joined(self._daemon_sets, uid)

    def nodes(self, uid: str) -> list[Object]:
        """Return the nodes that carry its label."""
        return self._nodes.of(uid)

    def pods(self, uid: str) -> list[Object]:
        """Return the pods of its daemons."""
        return _joined(self._pods, uid)

    def cliques(self, uid: str) -> list[Object]:
        """Return its cliques."""
        return _joined(self._cliques, uid)


def _label_bearer(node: Object) -> Object:
    """Return what is read of a node, a hundredth of it."""
    metadata = node["metadata"]
    kept = ("name", "uid", "resourceVersion", "labels", "deletionTimestamp")
    return {"metadata": {key: metadata[key] for key in kept if key in metadata}}


def _pod_core(pod: Object) -> Object:
    """Return what is read of a pod."""
    metadata, status = pod["metadata"], pod.get("status") or {}
    kept = ("name", "namespace", "uid", "resourceVersion", "labels", "deletionTimestamp")
    return {
        "metadata": {key: metadata[key] for key in kept if key in metadata},
        "spec": {"nodeName": (pod.get("spec") or {}).get("nodeName")},
        "status": {key: status[key] for key in ("phase", "podIP", "conditions") if key in status},
    }


def _joined(caches: Iterable[Cache], uid: str) -> list[Object]:
    return list(itertools.chain.from_iterable(cache.of(uid) for cache in caches))
