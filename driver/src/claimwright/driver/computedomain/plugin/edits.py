"""What containers get: IMEX channels for a workload; a folder, words and a capability for a daemon."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Final

from claimwright.dra.cdi import ContainerEdits, DeviceNode, Mount
from claimwright.driver.computedomain.plugin.domains import Domains
from claimwright.driver.computedomain.plugin.steps.domain_folder import DomainFolderTool
from claimwright.driver.computedomain.resources import (
    DAEMON_FOLDER,
    ENV_CLIQUE,
    ENV_DOMAIN_NAME,
    ENV_DOMAIN_NAMESPACE,
    ENV_DOMAIN_UID,
)
from claimwright.driver.edits.book import EditCall, call
from claimwright.driver.edits.kernel_devices import major_of
from claimwright.driver.errors import StepFailed
from claimwright.driver.ports import Host

CHANNELS_NAME: Final = "imex-channels"
DAEMON_NAME: Final = "domain-daemon"
CHANNEL_MODULE: Final = "nvidia-caps-imex-channels"
_CAPABILITY_MODULE: Final = "nvidia-caps"
_MANAGEMENT: Final = PurePosixPath("/proc/driver/nvidia/capabilities/fabric-imex-mgmt")


def imex_channels(first: int, count: int) -> EditCall:
    """Name the nodes of `count` channels."""
    return call(CHANNELS_NAME, first=first, count=count)


def domain_daemon(domain_uid: str) -> EditCall:
    """Name what the daemon of a domain needs."""
    return call(DAEMON_NAME, domain=domain_uid)


@dataclass(frozen=True)
class ChannelNodes:
    """Makes nodes of channels by their numbers: the kernel opens them whether or not the host has nodes."""

    host: Host

    def __call__(self, call: EditCall) -> ContainerEdits:
        """Return the nodes; StepFailed when the kernel has no channels."""
        major, first = channel_major(self.host), int(call["first"])
        return ContainerEdits(
            device_nodes=tuple(
                DeviceNode(
                    f"/dev/nvidia-caps-imex-channels/channel{number}",
                    type="c",
                    major=major,
                    minor=number,
                    file_mode=0o666,
                )
                for number in range(first, first + int(call["count"]))
            )
        )


@dataclass(frozen=True)
class DaemonContainer:
    """Makes what a daemon's container needs."""

    domains: Domains
    clique: Callable[[], str]
    folders: DomainFolderTool
    host: Host

    def __call__(self, call: EditCall) -> ContainerEdits:
        """Return folder, words and, on a fabric, the capability to manage it; ClaimRefused when the domain is gone."""
        domain, clique = self.domains.known(call["domain"]), self.clique()
        environment = {
            ENV_CLIQUE: clique,
            ENV_DOMAIN_UID: domain.uid,
            ENV_DOMAIN_NAME: domain.name,
            ENV_DOMAIN_NAMESPACE: domain.namespace,
        }
        folder = str(self.folders.of(domain.uid))
        return ContainerEdits(
            env=tuple(f"{name}={value}" for name, value in environment.items()),
            mounts=(Mount(folder, str(DAEMON_FOLDER), ("rw", "nosuid", "nodev", "bind")),),
            device_nodes=(self._capability(),) if clique else (),
        )

    def _capability(self) -> DeviceNode:
        found = re.search(r"^DeviceFileMinor:\s*(\d+)", self.host.read_text(_MANAGEMENT) or "", re.MULTILINE)
        major = major_of(self.host, _CAPABILITY_MODULE)
        if found is None or major is None:
            raise StepFailed(
                f"{_MANAGEMENT} names no device file, or /proc/devices has no line for {_CAPABILITY_MODULE}: "
                "nvidia-imex could not manage the fabric. Load the nvidia kernel module; the kubelet tries again"
            )
        minor = int(found[1])
        return DeviceNode(
            f"/dev/nvidia-caps/nvidia-cap{minor}", type="c", major=major, minor=minor, file_mode=0o400
        )


def channel_major(host: Host) -> int:
    """Return the major number of IMEX channels; StepFailed when the kernel has none."""
    major = major_of(host, CHANNEL_MODULE)
    if major is None:
        raise StepFailed(
            f"/proc/devices has no line for {CHANNEL_MODULE}: this kernel module has no IMEX channels. "
            "Load an nvidia kernel module of 550 or newer"
        )
    return major
