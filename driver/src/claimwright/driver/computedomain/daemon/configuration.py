"""The files that nvidia-imex reads: its configuration and its list of nodes, both at its start only.

The list is the same on all nodes and for ever, names for all places that the domain may have: daemons whose lists
differ refuse each other. Who is behind a name is in /etc/hosts, which a running daemon reads again when asked to.
"""

from __future__ import annotations

from claimwright.dra.files import write_atomically
from claimwright.driver.computedomain.daemon.hosts import name_of
from claimwright.driver.computedomain.daemon.settings import DaemonSettings


def write_configuration(settings: DaemonSettings) -> None:
    """Write both files; raises OSError."""
    nodes = "".join(f"{name_of(index)}\n" for index in range(settings.max_nodes))
    write_atomically(settings.nodes, nodes, durable=False)
    write_atomically(settings.configuration, _text(settings), durable=False)


def _text(settings: DaemonSettings) -> str:
    values = {
        "SERVER_PORT": 50000,
        "IMEX_CMD_ENABLED": 1,
        "IMEX_CMD_PORT": 50005,
        # Not loopback: nvidia-imex-ctl of a peer asks here, too, and the pod has a network of its own.
        "IMEX_CMD_BIND_INTERFACE_IP": settings.pod_ip,
        "IMEX_NODE_CONFIG_FILE": settings.nodes,
        "IMEX_WAIT_FOR_QUORUM": "RECOVERY",
        "DAEMONIZE": 0,
        "LOG_LEVEL": 4,
        "LOG_FILE_NAME": "",  # standard output: the log of the pod
    }
    return "".join(f"{key}={value}\n" for key, value in values.items())
