"""What may go wrong with a cluster, by who has to act.

Every message names the value, what was expected and what to do next; the command line prints it as it is and
exits with code 2, the API raises it.
"""

from __future__ import annotations


class ClusterError(Exception):
    """Anything that this room refuses or fails to do; the message says what to do about it."""


class InvalidRequest(ClusterError):
    """The caller asked for something that cannot exist: a bad name, an unknown minor, a bad feature gate."""


class ClusterExists(ClusterError):
    """The name belongs to a running cluster."""


class ClusterNotFound(ClusterError):
    """No cluster has that name."""


class ClusterBusy(ClusterError):
    """Another process is starting or stopping this cluster."""


class PrivilegeNeeded(ClusterError):
    """The operation needs root (or a capability) that this process has not."""


class MissingTool(ClusterError):
    """A program of the machine is needed and not there."""


class PortInUse(ClusterError):
    """A port that was asked for is taken."""


class BinariesUnavailable(ClusterError):
    """No way of getting a Kubernetes binary worked; the message names every way tried."""


class DownloadRefused(ClusterError):
    """A download failed or its checksum did not match; the next source is tried."""


class NotReady(ClusterError):
    """A component or a node did not become ready before its deadline; the message ends with its log."""


class UnsuitableCluster(ClusterError):
    """A foreign cluster is unreachable, too old, or does not serve DRA."""


class NoContainerEngine(ClusterError):
    """kind needs a container engine and none answers."""
