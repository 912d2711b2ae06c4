"""The files that nvidia-imex reads: its configuration and its list of nodes, both at its start only.

Daemons whose lists differ refuse each other. With names the list is the same on all nodes and for ever, one for each
place that the domain may have; who is behind a name is in /etc/hosts, which a running daemon reads again when asked to.
Without, for drivers before 570.158.01, it holds the addresses of all that are there.
"""

from __future__ import annotations

from collections.abc import Mapping

from claimwright.dra.files import write_atomically
from claimwright.driver.computedomain.daemon.hosts import name_of
from claimwright.driver.computedomain.daemon.settings import DaemonSettings


def write_configuration(settings: DaemonSettings, addresses: Mapping[int, str]) -> None:
    """Write both files; raises OSError."""
    names = (name_of(index) for index in range(settings.max_nodes))
    nodes = names if settings.by_names else addresses.values()
    write_atomically(settings.nodes, "".join(f"{node}\n" for node in nodes), durable=False)
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
