"""Any cluster that a kubeconfig reaches, real hardware included. Nothing is started and nothing is removed."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import yaml

from claimwright.cluster import errors, foreign, state
from claimwright.cluster.files import write_atomically
from claimwright.cluster.interface import Cluster, ClusterSpec
from claimwright.cluster.progress import Progress

_RECORD = "kubeconfig.json"
_COPY = "kubeconfig"
_PATH_FIELDS = ("certificate-authority", "client-certificate", "client-key", "tokenFile")


class Kubeconfig:
    """The provider for clusters of others."""

    def up(self, spec: ClusterSpec, folder: Path, progress: Progress) -> Cluster:
        """Check that the cluster can be used and remember it under the name."""
        source = chosen_kubeconfig(spec.kubeconfig)
        _read(source)
        path = source if spec.context is None else _with_context(source, spec.context, folder / _COPY)
        with progress.step(f"asking the cluster of {source}"):
            found = foreign.inspect(path)
        write_atomically(folder / _RECORD, json.dumps({"kubeconfig": os.fspath(path)}))
        return _describe(folder, path, found)

    def load(self, folder: Path) -> Cluster:
        """Ask the cluster again."""
        path = state.read_object(folder / _RECORD).get("kubeconfig")
        if not isinstance(path, str):
            raise errors.ClusterNotFound(
                f"cluster {folder.name!r} has no kubeconfig on record: bring it up again"
            )
        return _describe(folder, Path(path), foreign.inspect(Path(path)))

    def down(self, folder: Path, progress: Progress) -> None:
        """Forget the cluster; it belongs to others."""

    def import_image(self, cluster: Cluster, tar: Path) -> None:
        """Refuse: images of foreign nodes come from their registries."""
        raise errors.InvalidRequest(
            f"{tar.name} cannot be put onto the nodes of {cluster.name!r} from here: push it to the registry that"
            " they pull from"
        )


def chosen_kubeconfig(explicit: Path | None) -> Path:
    """Return the kubeconfig to use: the explicit one, the first of $KUBECONFIG, or ~/.kube/config."""
    named = explicit or Path(
        os.environ.get("KUBECONFIG", "").split(os.pathsep)[0] or Path.home() / ".kube" / "config"
    )
    if not named.is_file():
        raise errors.UnsuitableCluster(f"no kubeconfig at {named}: pass --kubeconfig FILE or set KUBECONFIG")
    return named.resolve()


def _read(path: Path) -> dict[str, Any]:
    """Read a kubeconfig; raises UnsuitableCluster where a client library would only show its own stack."""
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise errors.UnsuitableCluster(f"kubeconfig {path} cannot be read: {error.strerror}") from error
    except (yaml.YAMLError, ValueError) as error:
        said = " ".join(str(error).split())
        raise errors.UnsuitableCluster(f"kubeconfig {path} is not YAML: {said}") from error
    if not isinstance(content, dict) or not isinstance(content.get("clusters"), list):
        raise errors.UnsuitableCluster(
            f"{path} is no kubeconfig: expected a mapping with clusters, users and contexts"
        )
    return content


def _with_context(source: Path, context: str, target: Path) -> Path:
    """Write a copy whose current context is `context`; paths in it are made absolute."""
    content = _read(source)
    known = [item["name"] for item in content.get("contexts") or []]
    if context not in known:
        raise errors.InvalidRequest(
            f"{source} has no context {context!r}: there are {', '.join(known) or 'none'}"
        )
    for item in (*(content.get("clusters") or []), *(content.get("users") or [])):
        body = item.get("cluster") or item.get("user") or {}
        for field in _PATH_FIELDS:
            if field in body:
                body[field] = os.fspath(source.parent / body[field])
    write_atomically(target, yaml.safe_dump({**content, "current-context": context}))
    return target


def _describe(folder: Path, kubeconfig: Path, found: foreign.Found) -> Cluster:
    return Cluster(
        name=folder.name, provider="kubeconfig", kubernetes=found.version, kubeconfig=kubeconfig,
        nodes=found.as_nodes(), folder=folder, emulated_kubelets=not found.nodes,
    )  # fmt: skip
