"""What a living domain needs, and nothing else: its finalizer, its daemons, the template for its pods."""

from __future__ import annotations

from typing import Any

from claimwright.dra.kube import DAEMON_SETS, RESOURCE_CLAIM_TEMPLATES, Kube
from claimwright.driver.computedomain.controller.claim_templates import daemon_template, workload_template
from claimwright.driver.computedomain.controller.daemon_sets import daemon_set, is_outdated
from claimwright.driver.computedomain.controller.owning import ensure, patch_metadata
from claimwright.driver.computedomain.controller.removing import Remover
from claimwright.driver.computedomain.controller.settings import ControllerSettings
from claimwright.driver.computedomain.controller.view import View
from claimwright.driver.computedomain.resources import COMPUTE_DOMAINS, DOMAIN, ComputeDomain

Object = dict[str, Any]


class Provider:
    """Brings what exists for a domain to what should; writes nothing when it is so."""

    def __init__(self, kube: Kube, view: View, settings: ControllerSettings, remover: Remover) -> None:
        self._kube = kube
        self._view = view
        self._settings = settings
        self._pods = settings.daemon_pods
        self._remover = remover

    def hold(self, record: Object) -> Object:
        """Return the domain with the finalizer without which it could go before what was made for it."""
        finalizers = record["metadata"].get("finalizers") or []
        if DOMAIN in finalizers:
            return record
        return patch_metadata(self._kube, COMPUTE_DOMAINS, record, finalizers=[*finalizers, DOMAIN])

    def provide(self, domain: ComputeDomain) -> None:
        """Make what is missing; raises NameTaken and KubeErrors, and what was made before stays."""
        if self._settings.host_managed:
            self._remover.clear_daemons(domain.uid)  # of a time when the driver ran them
        else:
            self._provide_daemons(domain)
        all_channels = domain.all_channels and not self._settings.host_managed
        template = workload_template(domain, all_channels=all_channels)
        ensure(self._kube, RESOURCE_CLAIM_TEMPLATES, template, self._view.templates(domain.uid))

    def _provide_daemons(self, domain: ComputeDomain) -> None:
        known = self._view.daemon_sets(domain.uid)
        # Where the driver was before, daemons may run that workloads need: they stay there.
        elsewhere = [item for item in known if item["metadata"]["namespace"] != self._pods.namespace]
        here = len(elsewhere) < len(known) or not elsewhere
        namespace = self._pods.namespace if here else elsewhere[0]["metadata"]["namespace"]
        template = daemon_template(domain, namespace=namespace)
        ensure(self._kube, RESOURCE_CLAIM_TEMPLATES, template, self._view.templates(domain.uid))
        if here:
            wanted = daemon_set(domain, self._pods)
            stored = ensure(self._kube, DAEMON_SETS, wanted, known)
            if stored is not None and is_outdated(stored, wanted):
                self._renew(stored, wanted)

    def _renew(self, stored: Object, wanted: Object) -> None:
        annotations = {
            **(stored["metadata"].get("annotations") or {}),
            **wanted["metadata"]["annotations"],
        }
        metadata = {**stored["metadata"], "annotations": annotations}
        self._kube.replace(DAEMON_SETS, {**stored, "metadata": metadata, "spec": wanted["spec"]})
