"""The Kubernetes minors that a cluster can be made of, and the versions of everything around them.

A patch version is pinned per minor because its Go modules are (`binaries/modules/<minor>/go.sum`).
"""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType

from claimwright.cluster import errors

DEFAULT_MINOR = "1.37"
KUBERNETES = MappingProxyType({"1.34": "1.34.4", "1.35": "1.35.4", "1.36": "1.36.3", "1.37": "1.37.1"})
ETCD = "3.6.8"
CONTAINERD = "2.4.2"
RUNC = "1.4.0"
CNI_PLUGINS = "1.9.1"
HELM = "4.3.1"
OLDEST_GO = (1, 26)


@dataclass(frozen=True)
class KubernetesVersion:
    """One pinned Kubernetes release, such as 1.37.1."""

    minor: str
    patch: str

    @property
    def numbers(self) -> tuple[int, int]:
        """Major and minor, such as (1, 37)."""
        major, minor = self.minor.split(".")
        return int(major), int(minor)


def kubernetes_version(wanted: str) -> KubernetesVersion:
    """Find the pinned release of `wanted` (`1.37`, `v1.37` or exactly `1.37.1`).

    Raises InvalidRequest that lists the known ones.
    """
    asked = wanted.removeprefix("v")
    for minor, patch in KUBERNETES.items():
        if asked in {minor, patch}:
            return KubernetesVersion(minor, patch)
    known = ", ".join(f"{minor} ({patch})" for minor, patch in KUBERNETES.items())
    raise errors.InvalidRequest(f"Kubernetes {wanted!r} is not known here; choose one of {known}")
