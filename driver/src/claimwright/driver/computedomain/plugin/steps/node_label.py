"""The node's label as a step: it brings the domain's daemon to this node, and says which domain the node is in.

A node has one label, so a node is in one domain. The journal keeps the domain's name, for those who are told that the
node is taken, and only a label that is on record is removed.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from claimwright.driver.computedomain.plugin.domains import Domains
from claimwright.driver.errors import NotYet
from claimwright.driver.steps import Probe, Step

TOOL: Final = "node-label"
NAME: Final = "domain_name"


def node_label(domain_uid: str, namespace: str) -> Step:
    """Have the node in a domain, which must be of the claim's namespace."""
    return Step(TOOL, {"domain": domain_uid, "namespace": namespace})


class NodeLabelTool:
    """Sets and removes it."""

    name = TOOL
    visible = True
    recorded = True
    refreshes = False
    quick = False

    def __init__(self, domains: Domains) -> None:
        self._domains = domains

    def found(self, step: Step) -> Mapping[str, Any]:
        """Return the domain's name; ClaimRefused when the claim's namespace has no such domain."""
        return {NAME: str(self._domains.in_namespace(step.arguments["domain"], step.arguments["namespace"]))}

    def do(self, step: Step) -> None:
        """Set the label; StepRefused when the node is in another domain."""
        self._domains.join(step.arguments["domain"])

    def undo(self, step: Step) -> None:
        """Remove the label, if it is still that of this domain: the daemon leaves the node by that."""
        self._domains.leave(step.arguments["domain"])

    def probe(self, step: Step) -> Probe:
        """Ask for the node; without an answer nothing is known, and nothing is repaired.

        Nor is it where the domain ends: its controller takes the labels away before the claims are released.
        """
        try:
            if self._domains.label() == step.arguments["domain"]:
                return Probe.DONE
            domain = self._domains.find(step.arguments["domain"])
        except NotYet:
            return Probe.NOT_VISIBLE
        return Probe.NOT_VISIBLE if domain is None or domain.deleting else Probe.NOT_DONE
