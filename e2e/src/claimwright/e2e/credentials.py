"""A kubeconfig with the rights of a service account on one node, as a kubelet plugin's pod would have them."""

from __future__ import annotations

from pathlib import Path

import yaml

from claimwright.e2e.kubernetes_door import Kubernetes

TOKEN_SECONDS = 24 * 3600


def write_service_account_kubeconfig(
    kubernetes: Kubernetes, administrator: Path, target: Path, *, namespace: str, account: str, node: str
) -> None:
    """Write `target`: the cluster of the administrator's kubeconfig, with a token of the service account.

    The token is bound to the Node object, so that the API server sees `authentication.kubernetes.io/node-name` and
    admission policies that restrict a plugin to its own node are in force (KEP-4193).
    """
    bound = kubernetes.get(f"/api/v1/nodes/{node}")
    request = {
        "apiVersion": "authentication.k8s.io/v1",
        "kind": "TokenRequest",
        "spec": {
            "expirationSeconds": TOKEN_SECONDS,
            "boundObjectRef": {
                "apiVersion": "v1",
                "kind": "Node",
                "name": node,
                "uid": bound["metadata"]["uid"],
            },
        },
    }
    answer = kubernetes.post(f"/api/v1/namespaces/{namespace}/serviceaccounts/{account}/token", request)
    config = yaml.safe_load(administrator.read_text())
    context = {entry["name"]: entry["context"] for entry in config["contexts"]}[config["current-context"]]
    config["users"] = [{"name": context["user"], "user": {"token": answer["status"]["token"]}}]
    target.touch(mode=0o600)
    target.write_text(yaml.safe_dump(config))
