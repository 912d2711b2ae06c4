"""The files that nvidia-imex reads, below the driver root where the real one looks for them."""

from __future__ import annotations

from pathlib import Path

from claimwright.dra.files import write_atomically
from claimwright.emulator.model.fabric import ImexService

CONFIG = "etc/nvidia-imex/config.cfg"
NODES = "etc/nvidia-imex/nodes_config.cfg"
LOG = "var/log/nvidia-imex.log"
CONTROL_SOCKET = "etc/nvidia-imex/imex_ctrl.sock"  # where drivers expect the host's daemon


def config_text(service: ImexService) -> str:
    """Return config.cfg; paths count from the driver root, so they hold in a chroot, too."""
    values = {
        "LOG_LEVEL": 4,
        "LOG_FILE_NAME": LOG,
        "DAEMONIZE": 0,
        "BIND_INTERFACE_IP": service.address,
        "SERVER_PORT": service.server_port,
        "IMEX_NODE_CONFIG_FILE": NODES,
        "IMEX_WAIT_FOR_QUORUM": service.quorum.value,
        "IMEX_CMD_ENABLED": 1,
        "IMEX_CMD_BIND_INTERFACE_IP": service.address,
        "IMEX_CMD_PORT": service.command_port,
        "IMEX_CMD_UNIX_DOMAIN_PATH": CONTROL_SOCKET,
        "IMEX_NODE_DISCONNECTED_GRACE_TIME": service.grace_seconds,
        "EMULATOR_KEEPALIVE_MS": service.keepalive_ms,
        "EMULATOR_PEER_TIMEOUT_MS": service.peer_timeout_ms,
    }
    return "".join(f"{key}={value}\n" for key, value in values.items())


def write(service: ImexService, driver_root: Path) -> None:
    """Write both files; a daemon reads them when it starts, and the nodes once more on SIGUSR1."""
    (driver_root / CONFIG).parent.mkdir(parents=True, exist_ok=True)
    nodes = "".join(f"{node}\n" for node in service.nodes)
    for path, text in ((CONFIG, config_text(service)), (NODES, nodes)):
        write_atomically(driver_root / path, text.encode(), mode=0o644, durable=False)
