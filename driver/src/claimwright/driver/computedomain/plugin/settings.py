"""What the ComputeDomain plugin is told at start."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import ClassVar

from claimwright.driver.computedomain.imex_mode import check_imex
from claimwright.driver.computedomain.resources import COMPUTE_DOMAIN_DRIVER, HOST_MANAGED
from claimwright.driver.settings import PluginSettings


@dataclass(frozen=True)
class DomainPluginSettings(PluginSettings):
    """Settings of `compute-domain-plugin`; the socket is as the driver installation calls it."""

    driver: ClassVar[str] = COMPUTE_DOMAIN_DRIVER

    imex_mode: str
    imex_isolation: str
    imex_host_socket: PurePosixPath
    gpu_clique_label: bool
    additional_namespaces: tuple[str, ...]

    @property
    def host_managed(self) -> bool:
        """Whether the node's own nvidia-imex serves all claims, instead of a daemon for each domain."""
        return self.imex_mode == HOST_MANAGED

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
        check_imex(self.imex_mode, self.imex_isolation, self.feature_gates)
