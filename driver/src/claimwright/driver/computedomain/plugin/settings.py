"""What the ComputeDomain plugin is told at start."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import ClassVar, Final, Literal

from claimwright.driver.computedomain.resources import COMPUTE_DOMAIN_DRIVER
from claimwright.driver.errors import NodeUnusable
from claimwright.driver.settings import PluginSettings

ImexMode = Literal["driverManaged", "hostManaged"]
MODES: Final = ("driverManaged", "hostManaged")
_HOST_GATE: Final = "HostManagedIMEXDaemon"


@dataclass(frozen=True)
class DomainPluginSettings(PluginSettings):
    """Settings of `compute-domain-plugin`; the socket is as the driver installation calls it."""

    driver: ClassVar[str] = COMPUTE_DOMAIN_DRIVER

    imex_mode: ImexMode
    imex_isolation: str
    imex_host_socket: PurePosixPath
    gpu_clique_label: bool
    additional_namespaces: tuple[str, ...]

    @property
    def host_managed(self) -> bool:
        """Whether the node's own nvidia-imex serves all claims, instead of a daemon for each domain."""
        return self.imex_mode == "hostManaged"

    @property
    def domains_dir(self) -> Path:
        """The folders of daemons, one for each domain."""
        return self.plugin_dir / "domains"

    @property
    def daemon_namespaces(self) -> tuple[str, ...]:
        """Where daemons may run."""
        return (self.namespace, *self.additional_namespaces)

    def check(self) -> None:
        """Refuse combinations that make no sense; NodeUnusable names the flag."""
        super().check()
        if self.host_managed and not self.feature_gates[_HOST_GATE]:
            raise NodeUnusable(f"--imex-mode hostManaged needs feature gate {_HOST_GATE}=true")
        if self.imex_isolation != "domain":
            raise NodeUnusable(
                f"--imex-isolation {self.imex_isolation!r}: only domain is supported, in which all claims of a "
                "node are for channel 0; a channel for each claim is not"
            )
