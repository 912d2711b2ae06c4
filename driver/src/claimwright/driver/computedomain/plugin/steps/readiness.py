"""Waiting for the domain as a step: a channel works once the daemon of this node is ready in its clique."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from claimwright.driver.computedomain.plugin.domains import Domains
from claimwright.driver.computedomain.resources import ComputeDomain, Member, clique_name, daemon_name
from claimwright.driver.errors import NotYet
from claimwright.driver.steps import Probe, Step

TOOL: Final = "domain-readiness"


def readiness(domain_uid: str, namespace: str) -> Step:
    """Have this node ready in a domain."""
    return Step(TOOL, {"domain": domain_uid, "namespace": namespace})


class ReadinessTool:
    """Looks whether the node is ready; others make it so."""

    name = TOOL
    visible = False
    recorded = False
    refreshes = False
    quick = False

    def __init__(self, domains: Domains, clique: Callable[[], str]) -> None:
        self._domains = domains
        self._clique = clique

    def do(self, step: Step) -> None:
        """Return when the node is ready; NotYet says what is missing, ClaimRefused that the domain is gone."""
        domain = self._domains.in_namespace(step.arguments["domain"], step.arguments["namespace"])
        clique = self._clique()
        member = self._domains.member(domain, clique)
        if member is None or not member.ready:
            raise NotYet(self._missing(domain, clique, member))

    def undo(self, step: Step) -> None:
        """Do nothing: nothing was done."""

    def probe(self, step: Step) -> Probe:  # noqa: ARG002  the shape of a tool
        """Say that nothing shows: that it was ready once does not tell that it is now."""
        return Probe.NOT_VISIBLE

    def _missing(self, domain: ComputeDomain, clique: str, member: Member | None) -> str:
        in_clique = clique and self._domains.cliques
        where = f"clique {clique_name(domain.uid, clique)}" if in_clique else "the domain's status"
        what = (
            f"its daemon has not entered it into {where}"
            if member is None
            else f"its daemon at {member.address or 'no address'} is not ready in {where}"
        )
        return (
            f"current node not ready in ComputeDomain {domain}: node {self._domains.node}: {what}. See the pods of "
            f"DaemonSet {daemon_name(domain.uid)} in namespace {self._domains.namespace}, and their logs"
        )
