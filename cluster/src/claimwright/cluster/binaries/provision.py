"""Get every program that a cluster needs: folder, cache, download, build, in that order."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from claimwright.cluster import errors, folders, versions
from claimwright.cluster.binaries.build import build
from claimwright.cluster.binaries.cache import Cache
from claimwright.cluster.binaries.components import Component, in_build_order, release
from claimwright.cluster.binaries.download import Downloads
from claimwright.cluster.binaries.folder import chosen_folder, find_in
from claimwright.cluster.binaries.golang import find_go
from claimwright.cluster.binaries.runc import obtain_runc
from claimwright.cluster.progress import Progress


@dataclass(frozen=True)
class Sources:
    """Where programs may come from; the defaults are the user's own folders and the official releases."""

    folder: Path | None = None
    cache: Cache = field(default_factory=lambda: Cache(folders.cache_folder()))
    downloads: Downloads = field(default_factory=Downloads)
    environment: Mapping[str, str] = field(default_factory=lambda: dict(os.environ))


def provision(
    names: Iterable[str], kubernetes: versions.KubernetesVersion, sources: Sources, progress: Progress
) -> dict[str, Path]:
    """Return the path of each program, made where needed.

    Safe to be killed and to run twice at once. Raises BinariesUnavailable that names every way tried.
    """
    folder = chosen_folder(sources.folder, sources.environment)
    components = in_build_order(names)
    found = _present(components, kubernetes, folder, sources.cache)
    if len(found) == len(components):
        return found
    with sources.cache.locked(progress):
        for component in components:
            if component.name in found:
                continue
            # Another command may have made it while this one waited for the lock.
            cached = sources.cache.find(component, kubernetes)
            found[component.name] = cached or _make(component, kubernetes, sources, progress)
    return found


def _present(
    components: Iterable[Component],
    kubernetes: versions.KubernetesVersion,
    folder: Path | None,
    cache: Cache,
) -> dict[str, Path]:
    present = {}
    for component in components:
        path = find_in(folder, component.name) if folder else None
        if path := path or cache.find(component, kubernetes):
            present[component.name] = path
    return present


def _make(
    component: Component, kubernetes: versions.KubernetesVersion, sources: Sources, progress: Progress
) -> Path:
    tried = []
    with sources.cache.scratch() as scratch:
        for way in (_download, _compile):
            try:
                made = way(component, kubernetes, sources, scratch, progress)
                return sources.cache.install(made, component, kubernetes)
            except errors.ClusterError as error:
                tried.append(f"  - {way.__name__.strip('_')}: {error}")
    where = sources.cache.path(component, kubernetes)
    raise errors.BinariesUnavailable(
        f"no way to get {component.name} {release(component, kubernetes)}. It is neither in --binaries or"
        f" KUBEBUILDER_ASSETS nor at {where}, and:\n" + "\n".join(tried)
        + "\nPut the programs into a folder and pass --binaries FOLDER, or give this machine Go"
        f" {'.'.join(map(str, versions.OLDEST_GO))} and a Go module proxy."
    )  # fmt: skip


def _download(
    component: Component,
    kubernetes: versions.KubernetesVersion,
    sources: Sources,
    scratch: Path,
    progress: Progress,
) -> Path:
    known = set(sources.downloads.unreachable)
    try:
        return sources.downloads.fetch(component, kubernetes, scratch, progress)
    finally:
        for host in sources.downloads.unreachable.keys() - known:
            progress.note(f"{sources.downloads.unreachable[host]}; building instead")


def _compile(
    component: Component,
    kubernetes: versions.KubernetesVersion,
    sources: Sources,
    scratch: Path,
    progress: Progress,
) -> Path:
    if component.product == "runc":
        return obtain_runc(kubernetes, scratch, sources.cache.folder, progress)
    go = find_go(sources.cache.folder, progress)
    with progress.step(f"building {component.name} {release(component, kubernetes)} from its Go modules"):
        return build(go, component, kubernetes, scratch / component.name)
