"""The steps of a claim: the node joins its domain, waits until it is ready there, a daemon gets its folder and spec."""

from claimwright.driver.computedomain.plugin.steps.domain_folder import DomainFolderTool, domain_folder
from claimwright.driver.computedomain.plugin.steps.host_imex import HostImexTool, host_imex
from claimwright.driver.computedomain.plugin.steps.management_spec import (
    ManagementSpec,
    ManagementSpecTool,
    management_spec,
)
from claimwright.driver.computedomain.plugin.steps.node_label import NodeLabelTool, node_label
from claimwright.driver.computedomain.plugin.steps.readiness import ReadinessTool, readiness

__all__ = [
    "DomainFolderTool",
    "HostImexTool",
    "ManagementSpec",
    "ManagementSpecTool",
    "NodeLabelTool",
    "ReadinessTool",
    "domain_folder",
    "host_imex",
    "management_spec",
    "node_label",
    "readiness",
]
