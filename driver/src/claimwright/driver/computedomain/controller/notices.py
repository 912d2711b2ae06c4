"""Kubernetes Events at a domain, for what its author or an administrator has to act on; each is told once."""

from __future__ import annotations

import datetime as dt
import logging
import threading
import time
from typing import Any, Final

from claimwright.dra.kube import EVENTS, Kube, KubeError
from claimwright.driver.computedomain.resources import COMPUTE_DOMAIN_DRIVER, COMPUTE_DOMAINS, ComputeDomain

logger: Final = logging.getLogger(__name__)
_NOTE_CHARACTERS: Final = 1024


class DomainNotices:
    """Remembers what was told of each domain, so that a trouble that stays is told when it begins and when it ends."""

    def __init__(self, kube: Kube, instance: str) -> None:
        self._kube = kube
        self._instance = instance
        self._lock = threading.Lock()
        self._told: dict[str, tuple[str, str]] = {}

    def trouble(self, domain: ComputeDomain, reason: str, note: str) -> None:
        """Tell of a trouble; `reason` is for machines, `note` for people."""
        with self._lock:
            known = self._told.get(domain.uid) == (reason, note)
            self._told[domain.uid] = (reason, note)
        if not known:
            logger.warning("ComputeDomain %s: %s: %s", domain, reason, note)
            self._write(domain, "Warning", reason, note)

    def well(self, domain: ComputeDomain) -> None:
        """Tell that the last trouble is over, if there was one."""
        with self._lock:
            told = self._told.pop(domain.uid, None)
        if told is not None:
            self._write(domain, "Normal", "Recovered", f"over: {told[1]}")

    def forget(self, uid: str) -> None:
        """Keep nothing of a domain that is gone."""
        with self._lock:
            self._told.pop(uid, None)

    def _write(self, domain: ComputeDomain, kind: str, reason: str, note: str) -> None:
        try:
            self._kube.create(EVENTS, self._event(domain, kind, reason, note), namespace=domain.namespace)
        except KubeError as error:
            logger.warning("the event %s was not written: %s", reason, error)

    def _event(self, domain: ComputeDomain, kind: str, reason: str, note: str) -> dict[str, Any]:
        now = dt.datetime.fromtimestamp(time.time(), dt.UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        return {
            "metadata": {"generateName": f"{domain.name[:200]}-", "namespace": domain.namespace},
            "regarding": {
                "apiVersion": COMPUTE_DOMAINS.api_version,
                "kind": COMPUTE_DOMAINS.kind,
                "namespace": domain.namespace,
                "name": domain.name,
                "uid": domain.uid,
            },
            "type": kind,
            "reason": reason,
            "action": "Reconcile",
            "note": note[:_NOTE_CHARACTERS],
            "eventTime": now,
            "reportingController": COMPUTE_DOMAIN_DRIVER,
            "reportingInstance": self._instance[:128],
        }
