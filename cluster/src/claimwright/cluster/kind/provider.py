"""Kubernetes in containers, made by kind's own command line."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import yaml

from claimwright.cluster import errors, foreign, programs, state, versions
from claimwright.cluster.files import write_atomically
from claimwright.cluster.interface import Cluster, ClusterSpec
from claimwright.cluster.progress import Progress

_ENGINES = ("docker", "podman", "nerdctl")
_CREATE_SECONDS = 900.0
_DELETE_SECONDS = 180.0
_RECORD = "kind.json"


class Kind:
    """The provider over kind."""

    def up(self, spec: ClusterSpec, folder: Path, progress: Progress) -> Cluster:
        """Create the cluster; its containers are named after it."""
        engine, kind = find_engine(), _find_kind()
        config = folder / "kind.yaml"
        write_atomically(config, configuration(spec))
        # Recorded first: whatever a killed `kind create` leaves, `down` deletes by this name.
        write_atomically(folder / _RECORD, json.dumps({"kind": _kind_name(spec.name), "engine": engine}))
        with progress.step(f"kind creates {spec.name} with {engine}"):
            programs.run(
                [
                    kind, "create", "cluster", "--name", _kind_name(spec.name), "--config", config,
                    "--image", node_image(spec), "--kubeconfig", folder / "kubeconfig", "--wait", "300s",
                ],
                environment=_environment(engine), timeout_seconds=_CREATE_SECONDS,
            )  # fmt: skip
        return self.load(folder)

    def load(self, folder: Path) -> Cluster:
        """Ask the cluster's API server."""
        record = state.read_object(folder / _RECORD)
        if "kind" not in record or not (folder / "kubeconfig").exists():
            raise errors.ClusterNotFound(
                f"kind cluster {folder.name!r} was not finished: `claimwright cluster down`"
            )
        found = foreign.inspect(folder / "kubeconfig")
        enter = {name: (str(record["engine"]), "exec", "-i", name) for name, _ in found.nodes}
        return Cluster(
            name=folder.name, provider="kind", kubernetes=found.version, kubeconfig=folder / "kubeconfig",
            nodes=found.as_nodes(enter), folder=folder, emulated_kubelets=False,
        )  # fmt: skip

    def down(self, folder: Path, progress: Progress) -> None:
        """Have kind delete the cluster; nothing to do when none was begun."""
        record = state.read_object(folder / _RECORD)
        if "kind" not in record:
            return
        with progress.step(f"kind deletes {folder.name}"):
            programs.run(
                [
                    _find_kind(), "delete", "cluster", "--name", str(record["kind"]),
                    "--kubeconfig", folder / "kubeconfig",
                ],
                environment=_environment(str(record["engine"])), timeout_seconds=_DELETE_SECONDS,
            )  # fmt: skip

    def import_image(self, cluster: Cluster, tar: Path) -> None:
        """Have kind load the archive into every node."""
        record = state.read_object(cluster.folder / _RECORD)
        programs.run(
            [_find_kind(), "load", "image-archive", tar, "--name", str(record["kind"])],
            environment=_environment(str(record["engine"])), timeout_seconds=_CREATE_SECONDS,
        )  # fmt: skip


def configuration(spec: ClusterSpec) -> str:
    """Return kind's configuration file for `spec`: one control plane, the rest workers, CDI on."""
    roles = ["control-plane", *["worker"] * max(0, spec.nodes - 1)]
    content: dict[str, Any] = {
        "kind": "Cluster",
        "apiVersion": "kind.x-k8s.io/v1alpha4",
        "featureGates": dict(spec.feature_gates),
        "runtimeConfig": {"api/all": "true"},
        "nodes": [{"role": role} for role in roles],
    }
    return yaml.safe_dump(content, sort_keys=False)


def node_image(spec: ClusterSpec) -> str:
    """Return the node image; an image of one's own is named by CLAIMWRIGHT_KIND_IMAGE."""
    version = versions.kubernetes_version(spec.kubernetes).patch
    return os.environ.get("CLAIMWRIGHT_KIND_IMAGE") or f"kindest/node:v{version}"


def find_engine() -> str:
    """Return the first container engine that answers; raises NoContainerEngine with what each said."""
    said = []
    for engine in _ENGINES:
        if shutil.which(engine) is None:
            said.append(f"{engine} is not installed")
            continue
        try:
            programs.run([engine, "info"], timeout_seconds=30)
        except errors.ClusterError as error:
            said.append(str(error).replace("\n", " "))
        else:
            return engine
    raise errors.NoContainerEngine(
        f"kind needs a container engine: {'; '.join(said)}. Start one, or use --provider local, which needs none"
    )


def _find_kind() -> str:
    found = shutil.which("kind")
    if found is None:
        raise errors.MissingTool("the kind command is not on PATH: install kind, or use --provider local")
    return found


def _kind_name(name: str) -> str:
    return f"claimwright-{name}"


def _environment(engine: str) -> dict[str, str]:
    return {**os.environ, "KIND_EXPERIMENTAL_PROVIDER": engine}
