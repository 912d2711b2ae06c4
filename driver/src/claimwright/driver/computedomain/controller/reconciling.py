"""One look at one domain: what is there, what should be, and the writes between the two."""

from __future__ import annotations

import logging
from contextlib import suppress
from typing import Any, Final

from claimwright.dra.kube import Conflict, Kube, KubeError, NotFound
from claimwright.driver.computedomain.controller.notices import DomainNotices
from claimwright.driver.computedomain.controller.owning import NameTaken, leaving, let_go
from claimwright.driver.computedomain.controller.providing import Provider
from claimwright.driver.computedomain.controller.removing import Remover
from claimwright.driver.computedomain.controller.settings import ControllerSettings
from claimwright.driver.computedomain.controller.telling import Teller
from claimwright.driver.computedomain.controller.view import View
from claimwright.driver.computedomain.resources import COMPUTE_DOMAINS, ComputeDomain

Object = dict[str, Any]
logger: Final = logging.getLogger(__name__)


class Reconciler:
    """Safe to call at any time, for any uid, again after a failure, and by two controllers at once."""

    def __init__(self, kube: Kube, view: View, settings: ControllerSettings) -> None:
        self._kube = kube
        self._view = view
        self._remover = Remover(kube, view, settings.namespaces)
        self._provider = Provider(kube, view, settings, self._remover)
        self._teller = Teller(kube, view, settings)
        self._notices = DomainNotices(kube, settings.pod_name)

    def reconcile(self, uid: str) -> None:
        """Bring everything of domain `uid` to what it should be; raises KubeError and NameTaken to be called again."""
        record = self._view.domain(uid)
        if record is None:
            self._notices.forget(uid)
            self._remover.sweep(uid)
        elif leaving(record):
            self._take_away(record)
        else:
            self._keep(record, ComputeDomain.from_object(record))

    def _take_away(self, record: Object) -> None:
        if self._remover.clear(ComputeDomain.from_object(record)):
            with suppress(NotFound):
                let_go(self._kube, COMPUTE_DOMAINS, record)

    def _keep(self, record: Object, domain: ComputeDomain) -> None:
        logger.debug("Processing added or updated ComputeDomain %s", domain)
        record = self._provider.hold(record)
        failure: KubeError | NameTaken | None = None
        try:
            self._provider.provide(domain)
        except (KubeError, NameTaken) as error:
            # The nodes are told of all the same: what runs does not end because something else cannot be made.
            failure = error
        self._teller.tell(record, usable=not isinstance(failure, NameTaken))
        self._teller.drop_stale_rows(domain.uid)
        if failure is None:
            self._notices.well(domain)
            return
        self._complain(domain, failure)
        raise failure

    def _complain(self, domain: ComputeDomain, failure: KubeError | NameTaken) -> None:
        if isinstance(failure, NameTaken):
            self._notices.trouble(domain, "NameTaken", str(failure))
        elif not failure.retryable and not isinstance(failure, (Conflict, NotFound)):
            self._notices.trouble(domain, "Failed", f"{failure}; it is tried again")
