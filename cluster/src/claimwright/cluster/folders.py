"""Where clusters and binaries live on disk (XDG base directories), and which names are allowed there."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Mapping
from pathlib import Path

from claimwright.cluster import errors

_NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,30}[a-z0-9])?")


def checked_name(name: str) -> str:
    """Return `name` when it may be part of a path, a cgroup and a node name; raise InvalidRequest otherwise."""
    if not _NAME.fullmatch(name):
        raise errors.InvalidRequest(
            f"cluster name {name!r}: use 1 to 32 lower-case letters, digits and inner dashes, such as 'demo-1'"
        )
    return name


def clusters_folder(environment: Mapping[str, str] = os.environ) -> Path:
    """Return `$XDG_STATE_HOME/claimwright/clusters`, made or not."""
    return _base("XDG_STATE_HOME", ".local/state", environment) / "claimwright" / "clusters"


def cache_folder(environment: Mapping[str, str] = os.environ) -> Path:
    """Return `$XDG_CACHE_HOME/claimwright`, made or not."""
    return _base("XDG_CACHE_HOME", ".cache", environment) / "claimwright"


def short_folder(cluster_folder: Path) -> Path:
    """Return the short alias of a cluster's folder.

    A unix socket path holds at most 107 bytes (`sun_path` in unix(7)); a kubelet folder under a long state
    folder would not leave room for the plugins' sockets, so root's clusters get a symbolic link under /run.
    """
    digest = hashlib.sha256(os.fsencode(cluster_folder)).hexdigest()[:8]
    return Path("/run") / f"cw-{digest}"


def _base(variable: str, fallback: str, environment: Mapping[str, str]) -> Path:
    # The XDG specification: a relative path in the variable is invalid and ignored.
    value = environment.get(variable, "")
    if value.startswith("/"):
        return Path(value)
    return Path(environment.get("HOME") or Path.home()) / fallback
