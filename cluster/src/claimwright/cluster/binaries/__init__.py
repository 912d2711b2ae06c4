"""Programs of Kubernetes and around it: found, downloaded or built, and kept in a cache."""

from claimwright.cluster.binaries.cache import Cache
from claimwright.cluster.binaries.components import COMPONENTS, CONTROL_PLANE, NODE, Component
from claimwright.cluster.binaries.download import Downloads
from claimwright.cluster.binaries.provision import Sources, provision

__all__ = ["COMPONENTS", "CONTROL_PLANE", "NODE", "Cache", "Component", "Downloads", "Sources", "provision"]
