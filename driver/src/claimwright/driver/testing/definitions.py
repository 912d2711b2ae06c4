"""The custom resource definitions on an API server that tests use."""

from __future__ import annotations

import time
from typing import Any

import yaml

from claimwright.dra.kube import CUSTOM_RESOURCE_DEFINITIONS, Kube
from claimwright.driver import manifests


def install_definitions(kube: Kube, *, seconds: float = 30.0) -> None:
    """Apply the definitions of ComputeDomains, and wait until they are served.

    They stay: to delete them would delete every domain of the cluster, also those that are none of the test's.
    """
    wanted = [item["metadata"]["name"] for item in definitions()]
    for item in definitions():
        name = item["metadata"]["name"]
        kube.patch(
            CUSTOM_RESOURCE_DEFINITIONS, name, item, kind="apply", field_manager="claimwright", force=True
        )
    deadline = time.monotonic() + seconds
    while not all(_established(kube.get(CUSTOM_RESOURCE_DEFINITIONS, name)) for name in wanted):
        if time.monotonic() > deadline:
            raise TimeoutError(f"{', '.join(wanted)}: not served {seconds:g} s after they were applied")
        time.sleep(0.05)


def definitions() -> list[dict[str, Any]]:
    """Return the definitions as objects."""
    return list(yaml.safe_load_all(manifests.render(["crds"])))


def _established(item: dict[str, Any]) -> bool:
    conditions = item.get("status", {}).get("conditions") or ()
    return any(each["type"] == "Established" and each["status"] == "True" for each in conditions)
