"""What exists for a domain that goes, or is gone: taken away, the ways into the domain first."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any, Final

from claimwright.dra.kube import DAEMON_SETS, NODES, RESOURCE_CLAIM_TEMPLATES, Kube, NotFound
from claimwright.driver.computedomain.controller.owning import patch_metadata, remove
from claimwright.driver.computedomain.controller.view import View
from claimwright.driver.computedomain.resources import (
    CLIQUES,
    COMPUTE_DOMAINS,
    DOMAIN,
    TARGET,
    TARGET_DAEMON,
    TARGET_WORKLOAD,
    ComputeDomain,
)

Object = dict[str, Any]
logger: Final = logging.getLogger(__name__)


class Remover:
    """Removes by uid. Nothing is waited for: what vanishes wakes the domain again, which is then looked at anew."""

    def __init__(self, kube: Kube, view: View, namespaces: Sequence[str]) -> None:
        self._kube = kube
        self._view = view
        self._namespaces = namespaces

    def clear(self, domain: ComputeDomain) -> bool:
        """Remove everything but the domain itself; True when there was nothing left to remove."""
        return self._clear(domain.uid, (domain.namespace, *self._namespaces))

    def clear_daemons(self, uid: str) -> bool:
        """Remove the daemons and what leads to them; True when there was nothing left to remove."""
        sets, nodes = self._view.daemon_sets(uid), self._view.nodes(uid)
        for item in sets:
            remove(self._kube, DAEMON_SETS, item)
        for item in nodes:
            self._unlabel(item)
        no_template = self._clear_templates(uid, TARGET_DAEMON, self._namespaces)
        return self._clear_cliques(uid) and no_template and not (sets or nodes)

    def sweep(self, uid: str) -> None:
        """Remove the traces of a domain that nobody knows; a domain that the cache has not seen yet keeps its own."""
        if not self._traces(uid):
            return
        live = self._kube.list(COMPUTE_DOMAINS)["items"]
        if all(item["metadata"]["uid"] != uid for item in live):
            logger.info("removing what is left of a ComputeDomain that does not exist: uid %r", uid)
            self._clear(uid, None)

    def _traces(self, uid: str) -> bool:
        view = self._view
        owned = view.templates(uid) or view.daemon_sets(uid) or view.nodes(uid)
        return bool(owned or (view.cliques(uid) and not view.pods(uid)))

    def _clear(self, uid: str, namespaces: Sequence[str] | None) -> bool:
        no_workload = self._clear_templates(uid, TARGET_WORKLOAD, namespaces)
        no_daemons = self.clear_daemons(uid)
        return no_workload and no_daemons

    def _clear_templates(self, uid: str, target: str, namespaces: Sequence[str] | None) -> bool:
        """Remove those for `target`; elsewhere than in `namespaces` anybody may have written the label of a domain.

        Somebody's finalizer on such a template must not hold another team's domain.
        """
        found = [
            item
            for item in self._view.templates(uid)
            if item["metadata"]["labels"][TARGET] == target
            and (namespaces is None or item["metadata"]["namespace"] in namespaces)
        ]
        for item in found:
            remove(self._kube, RESOURCE_CLAIM_TEMPLATES, item)
        return not found

    def _clear_cliques(self, uid: str) -> bool:
        # A daemon that is on its way out writes once more, and must find its clique, or it would make another one.
        # The domain need not wait for that: pods of a node that is dead may stay for ever.
        if self._view.pods(uid):
            return True
        cliques = self._view.cliques(uid)
        for item in cliques:
            remove(self._kube, CLIQUES, item)
        return not cliques

    def _unlabel(self, node: Object) -> None:
        try:
            patch_metadata(self._kube, NODES, node, labels={DOMAIN: None})
        except NotFound:
            return  # the node went with its label
