"""What the plugin is told at start: every flag of the community driver, as one value."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, fields
from pathlib import Path, PurePosixPath
from typing import ClassVar, Final

from claimwright.driver.errors import NodeUnusable
from claimwright.driver.feature_gates import FeatureGates
from claimwright.driver.logs import Format
from claimwright.driver.shares import Shares

GPU_DRIVER: Final = "gpu.nvidia.com"
_NODE_NAME: Final = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")
_POD_UID: Final = re.compile(r"[A-Za-z0-9-]{0,128}")
_NO_PLACE_FOR_FILES: Final = (("proc",), ("sys",))


@dataclass(frozen=True)
class PluginSettings:
    """Settings of every kubelet plugin; paths as this process sees them unless the name says otherwise."""

    driver: ClassVar[str]

    node_name: str
    namespace: str
    kubeconfig: Path | None
    cdi_root: Path
    nvidia_driver_root_on_host: PurePosixPath
    container_driver_root: Path
    host_root: Path
    nvidia_cdi_hook_path: PurePosixPath | None
    registry_dir: Path
    pod_uid: str
    plugins_dir: Path
    healthcheck_port: int
    http_endpoint: str
    metrics_path: str
    feature_gates: FeatureGates
    logging_format: Format
    verbosity: int

    @property
    def plugin_dir(self) -> Path:
        """The folder of this driver's sockets and state."""
        return self.plugins_dir / self.driver

    @property
    def journal(self) -> Path:
        """The journal's file."""
        return self.plugin_dir / "claims.journal"

    def check(self) -> None:
        """Refuse combinations that make no sense; NodeUnusable names the flag."""
        if not _NODE_NAME.fullmatch(self.node_name) or len(self.node_name) > 253:
            raise NodeUnusable(
                f"--node-name {self.node_name!r}: expected a Node's name: lower-case letters, digits, - and ."
            )
        if not _POD_UID.fullmatch(self.pod_uid):
            raise NodeUnusable(
                f"--pod-uid {self.pod_uid!r}: expected the uid of this pod, letters, digits and -"
            )
        if not self.host_root.is_dir():
            raise NodeUnusable(
                f"--host-root {str(self.host_root)!r} is no folder: give the one with the host's sys, proc and dev"
            )
        if not self.cdi_root.is_absolute() or self.cdi_root.parts[1:2] in _NO_PLACE_FOR_FILES:
            raise NodeUnusable(
                f"--cdi-root {str(self.cdi_root)!r}: expected an absolute folder where files can be made, "
                "such as /var/run/cdi"
            )
        if self.http_endpoint and parse_endpoint(self.http_endpoint) is None:
            raise NodeUnusable(
                f"--http-endpoint {self.http_endpoint!r}: expected [host]:port, for example :8080"
            )
        if not -1 <= self.healthcheck_port <= 65535:
            raise NodeUnusable(
                f"--healthcheck-port {self.healthcheck_port}: expected -1 (off), 0 (any) or a port number"
            )

    def describe(self) -> str:
        """Return all settings as one JSON object, for the first line of the log."""
        known = {field.name: getattr(self, field.name) for field in fields(self)}
        known["feature_gates"] = dict(self.feature_gates.values)
        return json.dumps(known, default=str, sort_keys=True)


@dataclass(frozen=True)
class GpuPluginSettings(PluginSettings):
    """Settings of `gpu-plugin`."""

    driver: ClassVar[str] = GPU_DRIVER

    image_name: str
    image_pull_secrets: tuple[str, ...]
    image_pull_policy: str
    service_account_name: str
    additional_xids_to_ignore: str
    consumable_shares: str
    reread_seconds: float

    @property
    def mps_dir(self) -> Path:
        """The folder of MPS control daemons, whose parts containers get."""
        return self.plugin_dir / "mps"

    @property
    def health_file(self) -> Path:
        """What is remembered of the GPUs' health in this boot."""
        return self.plugin_dir / "health.json"

    @property
    def shares(self) -> Shares:
        """How devices are shared among claims; NodeUnusable names the flag."""
        found = Shares.parse(self.consumable_shares)
        if found is None:
            raise NodeUnusable(
                f"--consumable-shares {self.consumable_shares!r}: "
                "expected disabled, memory, unlimited or a positive number"
            )
        return found

    def check(self) -> None:
        """Refuse combinations that make no sense; NodeUnusable names the flag."""
        super().check()
        self._check_xids()
        self._check_shares()
        if not 0.1 <= self.reread_seconds <= 3600:
            raise NodeUnusable(f"--reread-seconds {self.reread_seconds:g}: expected 0.1 to 3600 seconds")

    def _check_xids(self) -> None:
        for text in filter(None, (each.strip() for each in self.additional_xids_to_ignore.split(","))):
            if not (text.isascii() and text.isdecimal() and 0 < int(text) < 1 << 32):
                raise NodeUnusable(
                    f"--additional-xids-to-ignore {self.additional_xids_to_ignore!r}: {text!r} is no XID; "
                    "expected numbers such as 13,31"
                )

    def _check_shares(self) -> None:
        if self.shares.enabled and not self.feature_gates["ConsumableShares"]:
            raise NodeUnusable(
                f"--consumable-shares {self.consumable_shares} needs feature gate ConsumableShares=true"
            )


def parse_endpoint(text: str) -> tuple[str, int] | None:
    """Split `[host]:port`; no host means all addresses, None that it is no endpoint."""
    host, colon, port = text.rpartition(":")
    if not colon or not port.isdecimal() or int(port) > 65535:
        return None
    return host.strip("[]"), int(port)
