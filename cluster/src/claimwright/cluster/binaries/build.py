"""Build programs from the Go modules pinned in `modules/`."""

from __future__ import annotations

import os
from importlib import resources
from pathlib import Path

from claimwright.cluster import programs, versions
from claimwright.cluster.binaries.components import Component, link_flags, module_folder

_BUILD_SECONDS = 3600.0


def build(
    go: Path,
    component: Component,
    kubernetes: versions.KubernetesVersion,
    output: Path,
    *,
    extra_environment: dict[str, str] | None = None,
) -> Path:
    """Compile `component` to `output` and return it; raises ProgramFailed with the compiler's last lines."""
    modules = (
        resources.files("claimwright.cluster.binaries") / "modules" / module_folder(component, kubernetes)
    )
    with resources.as_file(modules) as folder:
        programs.run(
            build_command(go, component, kubernetes, output),
            cwd=folder, environment=_environment() | (extra_environment or {}), timeout_seconds=_BUILD_SECONDS,
        )  # fmt: skip
    return output


def build_command(
    go: Path, component: Component, kubernetes: versions.KubernetesVersion, output: Path
) -> list[str]:
    """Return the go command; -trimpath keeps paths of this machine out of the program and of the cache key."""
    tags = ["-tags", ",".join(component.tags)] if component.tags else []
    flags = link_flags(component, kubernetes)
    return [
        os.fspath(go), "build", "-trimpath", "-buildvcs=false", *tags, "-ldflags", flags, "-o", os.fspath(output),
        component.package,
    ]  # fmt: skip


def _environment() -> dict[str, str]:
    # The user's flags and workspaces are for the user's code; go.sum decides here, so nothing may edit it.
    kept = {name: value for name, value in os.environ.items() if name not in {"GOFLAGS", "GOWORK", "GOROOT"}}
    return kept | {"CGO_ENABLED": "0", "GOFLAGS": "-mod=readonly", "GOWORK": "off", "GOTOOLCHAIN": "local"}
