"""The container runtime: that it takes CDI devices, and reads the folder that the driver writes to."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import Any, Final

from claimwright.driver.ports import Host
from claimwright.driver.preflight.findings import Finding, fail, ok, warn

_CONTAINERD: Final = PurePosixPath("/etc/containerd/config.toml")
_DEFAULT_FOLDERS: Final = ("/etc/cdi", "/var/run/cdi")
_SUBJECT: Final = "CDI in the runtime"
# containerd 1.7: io.containerd.grpc.v1.cri; 2.x: io.containerd.cri.v1.runtime.
_PLUGINS: Final = ("io.containerd.cri.v1.runtime", "io.containerd.grpc.v1.cri")


def check_runtime(host: Host, version: str, cdi_root: Path) -> Iterator[Finding]:
    """Judge by what the kubelet reports (`containerd://2.1.4`, or nothing) and by the runtime's configuration."""
    name, _, number = version.partition("://")
    if name == "cri-o":
        yield ok(_SUBJECT, f"CRI-O {number} takes CDI devices")
    elif name == "containerd" or (not name and host.kind(_CONTAINERD) is not None):
        yield from _containerd(host, number, cdi_root)
    elif name:
        advice = "Use containerd 1.7 or newer with CDI enabled, or CRI-O."
        yield warn(_SUBJECT, f"{version} is not known to take CDI devices", advice)
    else:
        advice = "Give --node-name and --kubeconfig, or run on the node with --host-root."
        yield warn(_SUBJECT, "neither the Node nor /etc/containerd tells which runtime there is", advice)


def _containerd(host: Host, number: str, cdi_root: Path) -> Iterator[Finding]:
    try:
        settings = _settings(host)
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        yield warn(
            _SUBJECT, f"{_CONTAINERD} cannot be read: {error}", "Correct the file; containerd reads it."
        )
        return
    major = int(found[1]) if (found := re.match(r"v?(\d+)\.", number)) else None
    enabled = settings.get("enable_cdi", None if major is None else major >= 2)
    name = f"containerd {number}".strip()
    enable = f"Set enable_cdi = true in {_CONTAINERD} and restart containerd."
    if enabled is None:
        yield warn(_SUBJECT, f"{name}: enable_cdi is not set; on before 2.0 means off", enable)
    elif not enabled:
        yield fail(_SUBJECT, f"{name}: CDI is off", enable)
    else:
        yield ok(_SUBJECT, f"{name}: CDI is on")
    folders = settings.get("cdi_spec_dirs", _DEFAULT_FOLDERS)
    if not any(_same(str(folder), str(cdi_root)) for folder in folders):
        read = ", ".join(map(str, folders)) or "none"
        advice = f"Give --cdi-root one of them, or add {cdi_root} to cdi_spec_dirs."
        yield fail("CDI folder", f"the runtime reads {read}, not {cdi_root}", advice)


def _settings(host: Host) -> Mapping[str, Any]:
    """Return containerd's CRI settings, of the main file and of what it imports from its own folder."""
    settings: dict[str, Any] = {}
    main = _document(host, _CONTAINERD)
    documents = [main, *(_document(host, path) for path in _imported(host, main))]
    for document in documents:
        plugins = document.get("plugins")
        for name in _PLUGINS:
            found = plugins.get(name) if isinstance(plugins, dict) else None
            settings.update(found if isinstance(found, dict) else {})
    folders = settings.get("cdi_spec_dirs")
    if folders is not None and not isinstance(folders, list):
        del settings["cdi_spec_dirs"]
    return settings


def _document(host: Host, path: PurePosixPath) -> dict[str, Any]:
    return tomllib.loads(host.read_text(path) or "")


def _imported(host: Host, main: Mapping[str, Any]) -> Iterator[PurePosixPath]:
    patterns = main.get("imports")
    for pattern in patterns if isinstance(patterns, list) else ():
        path = _CONTAINERD.parent / str(pattern)
        for name in host.entries(path.parent):
            if (path.parent / name).match(str(path)):
                yield path.parent / name


def _same(one: str, other: str) -> bool:
    """`/var/run` is a link to `/run` wherever systemd is."""
    return one.removeprefix("/var").rstrip("/") == other.removeprefix("/var").rstrip("/")
