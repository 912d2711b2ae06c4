"""ComputeDomains, cliques and this node's label, as the API server has them now.

Nothing is cached: a domain is asked for when a claim needs it, which is rare, and a node that holds no claim asks for
nothing. What the API server cannot tell now is NotYet: the claim waits for it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

from claimwright.dra.kube import NODES, Conflict, Kube, KubeError, NotFound
from claimwright.driver.computedomain.resources import (
    CLIQUES,
    COMPUTE_DOMAINS,
    DOMAIN,
    Clique,
    ComputeDomain,
    Member,
    clique_name,
)
from claimwright.driver.errors import ClaimRefused, NotYet, StepRefused

_TRIES: Final = 5


@dataclass(frozen=True)
class Domains:
    """Reads domains, and puts this node into one; `namespace` is where cliques are, if daemons write those."""

    kube: Kube
    node: str
    namespace: str
    cliques: bool = True

    def find(self, uid: str) -> ComputeDomain | None:
        """Return a domain of any namespace, None when there is none of that uid; NotYet without an answer."""
        with _answered(f"ComputeDomain {uid}"):
            items = self.kube.list(COMPUTE_DOMAINS)["items"]
        return _of_uid(items, uid)

    def in_namespace(self, uid: str, namespace: str) -> ComputeDomain:
        """Return a living domain of one namespace; ClaimRefused where there is none, NotYet without an answer."""
        with _answered(f"ComputeDomain {uid}"):
            items = self.kube.list(COMPUTE_DOMAINS, namespace=namespace)["items"]
        found = _of_uid(items, uid)
        if found is None:
            return self._refuse(uid, namespace)
        if found.deleting:
            raise ClaimRefused(
                f"ComputeDomain {found} ({uid}) is being deleted: create another one, and use the claim template that "
                "it names"
            )
        return found

    def known(self, uid: str) -> ComputeDomain:
        """Return a domain of any namespace; ClaimRefused when there is none of that uid."""
        found = self.find(uid)
        if found is None:
            raise ClaimRefused(_missing(uid))
        return found

    def member(self, domain: ComputeDomain, clique: str) -> Member | None:
        """Return this node's row: that of its clique, or else that of the domain's status; None where it has none."""
        rows = self._clique(domain.uid, clique).members if clique and self.cliques else ()
        here = (row for row in (*rows, *domain.members) if row.node == self.node)
        return next(here, None)

    def label(self) -> str:
        """Return the uid of the domain that this node belongs to, empty when to none."""
        return _label(self._node())

    def join(self, uid: str) -> None:
        """Put this node into a domain; StepRefused when it is in another one."""
        with _answered(f"node {self.node}"):
            self._relabel(lambda now: self._refuse_other(now, uid), uid)

    def leave(self, uid: str) -> None:
        """Take this node out of a domain; in another one, or gone, is fine."""
        with _answered(f"node {self.node}"):
            try:
                self._relabel(lambda now: now == uid, None)
            except NotFound:
                return

    def _clique(self, uid: str, clique: str) -> Clique:
        name = clique_name(uid, clique)
        with _answered(f"ComputeDomainClique {name}"):
            try:
                return Clique.from_object(self.kube.get(CLIQUES, name, namespace=self.namespace))
            except NotFound:
                return Clique(name, uid)

    def _node(self) -> dict[str, Any]:
        with _answered(f"node {self.node}"):
            return self.kube.get(NODES, self.node)

    def _relabel(self, wanted: Callable[[str], bool], value: str | None) -> None:
        """Set the label where `wanted` says so of its present value, or raises; as one step against all others."""
        for attempt in range(1, _TRIES + 1):
            node = self.kube.get(NODES, self.node)
            now = _label(node)
            if now == (value or "") or not wanted(now):
                return
            version = node["metadata"]["resourceVersion"]
            try:
                self.kube.patch(
                    NODES, self.node, {"metadata": {"labels": {DOMAIN: value}, "resourceVersion": version}}
                )
            except Conflict:
                if attempt == _TRIES:
                    raise
            else:
                return

    def _refuse_other(self, now: str, uid: str) -> bool:
        if not now:
            return True
        other = self.find(now)
        held = (
            f"ComputeDomain {other} ({now})" if other is not None else f"a ComputeDomain that is gone ({now})"
        )
        advice = (
            f"have this pod run on another node, or delete the pods of {other} on this one"
            if other is not None
            else f"the controller removes the label soon; by hand: kubectl label node {self.node} {DOMAIN}-"
        )
        raise StepRefused(
            f"label already exists for a different ComputeDomain: node {self.node} belongs to {held}, this claim is "
            f"for {uid}. A node is in one ComputeDomain at a time: {advice}"
        )

    def _refuse(self, uid: str, namespace: str) -> ComputeDomain:
        other = self.find(uid)
        if other is None:
            raise ClaimRefused(_missing(uid))
        raise ClaimRefused(
            f"ComputeDomain {other} ({uid}) is of another namespace than this claim, which is of {namespace}: "
            f"create a ComputeDomain in {namespace}, and use the claim template that it names"
        )


def _missing(uid: str) -> str:
    return (
        f"ComputeDomain with uid {uid} not found: it was deleted, or domainID was never one. Use the claim template "
        "that a ComputeDomain names in spec.channel.resourceClaimTemplate"
    )


def _of_uid(items: list[dict[str, Any]], uid: str) -> ComputeDomain | None:
    return next((ComputeDomain.from_object(item) for item in items if item["metadata"]["uid"] == uid), None)


def _label(node: dict[str, Any]) -> str:
    return str((node["metadata"].get("labels") or {}).get(DOMAIN, ""))


@contextmanager
def _answered(what: str) -> Iterator[None]:
    try:
        yield
    except KubeError as error:
        raise NotYet(f"the API server does not tell about {what}: {error}") from error
