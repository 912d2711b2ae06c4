"""Before the driver is installed: what of this node and of the cluster is as it needs, and what to do where not."""

from claimwright.driver.preflight.findings import Finding, Level, verdict
from claimwright.driver.preflight.rendering import as_json, as_text
from claimwright.driver.preflight.running import look

__all__ = ["Finding", "Level", "as_json", "as_text", "look", "verdict"]
