"""Where the rows of a clique's nodes lie: in a ComputeDomainClique, or, with that gate off, in the domain's status."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from claimwright.dra.kube import Resource
from claimwright.driver.computedomain.daemon.settings import DaemonSettings
from claimwright.driver.computedomain.resources import CLIQUE, CLIQUES, COMPUTE_DOMAINS, DOMAIN, Member

Object = Mapping[str, Any]


class Sheet(Protocol):
    """An object with rows, and what this daemon applies to it."""

    @property
    def resource(self) -> Resource:
        """Its kind."""
        ...

    @property
    def subresource(self) -> str | None:
        """The part of it that is written."""
        ...

    @property
    def namespace(self) -> str:
        """Its namespace."""
        ...

    @property
    def name(self) -> str:
        """Its name."""
        ...

    def rows(self, record: Object) -> object:
        """Give its rows, of any cliques."""
        ...

    def least(self, record: Object) -> int:
        """Give how many nodes there must be before addresses are told."""
        ...

    def configuration(self, row: Member | None, uid: str | None) -> Object:
        """Give what is applied: the own row or none; with `uid` to the object that has it, else to any or a new one."""
        ...


def sheet_of(settings: DaemonSettings) -> Sheet:
    """Choose by the feature gate."""
    return CliqueSheet(settings) if settings.has_cliques else StatusSheet(settings)


class CliqueSheet:
    """A ComputeDomainClique: made by the first who applies to it, owned by the pods of its daemons."""

    resource = CLIQUES
    subresource = None

    def __init__(self, settings: DaemonSettings) -> None:
        self.namespace, self.name = settings.pod_namespace, settings.clique_name
        self._labels = {DOMAIN: settings.domain_uid, CLIQUE: settings.clique}
        self._owner = {"apiVersion": "v1", "kind": "Pod", "name": settings.pod, "uid": settings.pod_uid}

    def rows(self, record: Object) -> object:
        """Give its rows."""
        return record.get("daemons")

    def least(self, record: Object) -> int:  # noqa: ARG002  the shape of a sheet
        """Give 0: names may get their addresses later."""
        return 0

    def configuration(self, row: Member | None, uid: str | None) -> Object:
        """Give what is applied."""
        metadata = {"labels": self._labels, "ownerReferences": [self._owner], **({"uid": uid} if uid else {})}
        return {"metadata": metadata, **({"daemons": [row.row(named="nodeName")]} if row else {})}


class StatusSheet:
    """The status of the ComputeDomain, which somebody else made and owns."""

    resource = COMPUTE_DOMAINS
    subresource = "status"

    def __init__(self, settings: DaemonSettings) -> None:
        self.namespace, self.name = settings.domain_namespace, settings.domain_name
        self._uid = settings.domain_uid

    def rows(self, record: Object) -> object:
        """Give the rows of all cliques of the domain."""
        status = record.get("status")
        return status.get("nodes") if isinstance(status, dict) else None

    def least(self, record: Object) -> int:
        """Give the size that was asked for."""
        return int((record.get("spec") or {}).get("numNodes") or 0)

    def configuration(self, row: Member | None, uid: str | None) -> Object:  # noqa: ARG002  it is known
        """Give what is applied, to this domain and no later one of its name."""
        return {"metadata": {"uid": self._uid}, "status": {"nodes": [row.row(named="name")] if row else []}}
