"""The Kubernetes door: a small synchronous client over urllib3, thread-safe, and a reader for event loops.

The official client costs 38 MB of memory in each driver process; this one speaks the same REST with plain
dicts. From asyncio call it through `asyncio.to_thread`, or read single objects with `Kube.live_reader`.
"""

from claimwright.dra.kube.client import Kube, PatchKind
from claimwright.dra.kube.credentials import Credentials, MalformedKubeconfig
from claimwright.dra.kube.errors import (
    AlreadyExists,
    Conflict,
    Forbidden,
    Gone,
    Invalid,
    KubeError,
    NotFound,
    Unauthorized,
    Unavailable,
)
from claimwright.dra.kube.live import LiveReader
from claimwright.dra.kube.reflector import ChangeType, Key, Reflector
from claimwright.dra.kube.resources import (
    CLUSTER_ROLE_BINDINGS,
    CLUSTER_ROLES,
    CONFIG_MAPS,
    CUSTOM_RESOURCE_DEFINITIONS,
    DAEMON_SETS,
    DEPLOYMENTS,
    DEVICE_CLASSES,
    DEVICE_TAINT_RULES,
    EVENTS,
    JOBS,
    LEASES,
    NAMESPACES,
    NETWORK_POLICIES,
    NODES,
    PODS,
    RESOURCE_CLAIM_TEMPLATES,
    RESOURCE_CLAIMS,
    RESOURCE_SLICES,
    SECRETS,
    SERVICE_ACCOUNTS,
    VALIDATING_ADMISSION_POLICIES,
    VALIDATING_ADMISSION_POLICY_BINDINGS,
    Resource,
)
from claimwright.dra.kube.watch import Watch, WatchEvent, WatchEventType

__all__ = [
    "CLUSTER_ROLES",
    "CLUSTER_ROLE_BINDINGS",
    "CONFIG_MAPS",
    "CUSTOM_RESOURCE_DEFINITIONS",
    "DAEMON_SETS",
    "DEPLOYMENTS",
    "DEVICE_CLASSES",
    "DEVICE_TAINT_RULES",
    "EVENTS",
    "JOBS",
    "LEASES",
    "NAMESPACES",
    "NETWORK_POLICIES",
    "NODES",
    "PODS",
    "RESOURCE_CLAIMS",
    "RESOURCE_CLAIM_TEMPLATES",
    "RESOURCE_SLICES",
    "SECRETS",
    "SERVICE_ACCOUNTS",
    "VALIDATING_ADMISSION_POLICIES",
    "VALIDATING_ADMISSION_POLICY_BINDINGS",
    "AlreadyExists",
    "ChangeType",
    "Conflict",
    "Credentials",
    "Forbidden",
    "Gone",
    "Invalid",
    "Key",
    "Kube",
    "KubeError",
    "LiveReader",
    "MalformedKubeconfig",
    "NotFound",
    "PatchKind",
    "Reflector",
    "Resource",
    "Unauthorized",
    "Unavailable",
    "Watch",
    "WatchEvent",
    "WatchEventType",
]
