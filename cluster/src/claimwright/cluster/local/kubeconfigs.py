"""Write kubeconfig files for the identities of a cluster."""

from __future__ import annotations

import base64
from pathlib import Path

import yaml

from claimwright.cluster.files import write_atomically
from claimwright.cluster.local.certificates import Pair


def write_kubeconfig(
    path: Path, *, cluster: str, server: str, authority: Path, identity: Pair, user: str
) -> Path:
    """Write a self-contained kubeconfig (certificates inside), readable by its owner only."""
    content = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [
            {
                "name": cluster,
                "cluster": {"server": server, "certificate-authority-data": _encoded(authority)},
            }
        ],
        "users": [
            {
                "name": user,
                "user": {
                    "client-certificate-data": _encoded(identity.certificate),
                    "client-key-data": _encoded(identity.key),
                },
            }
        ],
        "contexts": [{"name": cluster, "context": {"cluster": cluster, "user": user}}],
        "current-context": cluster,
    }
    write_atomically(path, yaml.safe_dump(content, sort_keys=False))
    return path


def _encoded(path: Path) -> str:
    return base64.b64encode(path.read_bytes()).decode("ascii")
