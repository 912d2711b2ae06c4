"""The pod that L-START creates: built in, or from the user's template of one Pod and its claim templates."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from claimwright.reports.errors import ManifestError
from claimwright.reports.measuring.options import PodShape
from claimwright.reports.measuring.stage import LABEL

_TEMPLATE = "measured"


@dataclass(frozen=True, slots=True)
class PodTemplate:
    """A Pod without name and place, and the ResourceClaimTemplates that it names."""

    pod: Mapping[str, Any]
    claim_templates: tuple[Mapping[str, Any], ...]

    def named(self, name: str, *, namespace: str, run: str, node: str) -> dict[str, Any]:
        """Make the pod to create: our name and label, and only this node for the scheduler to choose.

        `spec.nodeName` would go around the scheduler, which is part of what is measured.
        """
        pod = copy.deepcopy(dict(self.pod))
        labels = (pod.get("metadata") or {}).get("labels") or {}
        pod["metadata"] = {"name": name, "namespace": namespace, "labels": {**labels, LABEL: run}}
        terms = [{"matchFields": [{"key": "metadata.name", "operator": "In", "values": [node]}]}]
        required = {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": terms}}
        pod["spec"]["affinity"] = {**(pod["spec"].get("affinity") or {}), "nodeAffinity": required}
        return pod


def built_in(shape: PodShape, device_class: str) -> PodTemplate:
    """Give a pod of one container that asks for one device of a class."""
    request = {"name": "device", "exactly": {"deviceClassName": device_class}}
    claim = {"metadata": {"name": _TEMPLATE}, "spec": {"spec": {"devices": {"requests": [request]}}}}
    container = {
        "name": "measured",
        "image": shape.image,
        "imagePullPolicy": "IfNotPresent",
        "resources": {"claims": [{"name": "device"}]},
    }
    spec = {
        "restartPolicy": "Never",
        "terminationGracePeriodSeconds": 1,
        "tolerations": [{"operator": "Exists"}],
        "containers": [container],
        "resourceClaims": [{"name": "device", "resourceClaimTemplateName": _TEMPLATE}],
    }
    return PodTemplate({"metadata": {}, "spec": spec}, (claim,))


def read_template(path: Path) -> PodTemplate:
    """Read a template; errors name the file and the document."""
    try:
        documents = [document for document in yaml.safe_load_all(path.read_text("utf-8")) if document]
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ManifestError(f"cannot read the pod manifest {path}: {error}") from error
    pods, templates = [], []
    for number, document in enumerate(documents, start=1):
        kind = document.get("kind") if isinstance(document, dict) else None
        if kind == "Pod":
            pods.append(document)
        elif kind == "ResourceClaimTemplate":
            templates.append(document)
        else:
            raise ManifestError(
                f"{path}, document {number}: kind {kind!r}; a measured manifest holds one Pod and its "
                "ResourceClaimTemplates. Create what else it needs beforehand"
            )
    if len(pods) != 1:
        raise ManifestError(f"{path} holds {len(pods)} Pods; a measured manifest holds exactly one")
    if not (pods[0].get("spec") or {}).get("resourceClaims"):
        raise ManifestError(f"{path}: the Pod has no spec.resourceClaims, so there is no claim to measure")
    return PodTemplate(pods[0], tuple(templates))
