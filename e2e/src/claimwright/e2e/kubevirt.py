"""What KubeVirt makes of a VirtualMachineInstance that names claims: the launcher's pod, as far as DRA is concerned."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from claimwright.e2e.scenario import PROBE_IMAGE

# KEP-5304's folder, then the claim by its kind, the request, and the driver.
FROM_TEMPLATE = "resourceclaimtemplates/{claim}/{request}/{driver}-metadata.json"


def launcher_pod(machine: Mapping[str, Any], *, image: str = PROBE_IMAGE) -> dict[str, Any]:
    """Render the pod of a machine as virt-controller does, with `image` as its launcher.

    The machine's claims become the pod's, and the container `compute` gets one entry of claim and request for each GPU
    and host device. A KeyError is a machine whose references do not hold, which KubeVirt's admission would refuse.
    """
    spec = machine["spec"]
    known = {each["name"]: each for each in spec["resourceClaims"]}
    devices = spec["domain"]["devices"]
    used = [*devices.get("gpus", ()), *devices.get("hostDevices", ())]
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": f"virt-launcher-{machine['metadata']['name']}",
            "labels": dict(machine["metadata"].get("labels", {})),
        },
        "spec": {
            "terminationGracePeriodSeconds": 2,
            "containers": [
                {
                    "name": "compute",
                    "image": image,
                    "imagePullPolicy": "Never",
                    "resources": {
                        "claims": [
                            {"name": known[each["claimName"]]["name"], "request": each["requestName"]}
                            for each in used
                        ]
                    },
                }
            ],
            "resourceClaims": list(known.values()),
        },
    }


def json_stream(text: str) -> Iterator[dict[str, Any]]:
    """Read one JSON object after the other, as the launcher reads a metadata file: one object an API version."""
    while text := text.lstrip():
        found, end = json.JSONDecoder().raw_decode(text)
        yield found
        text = text[end:]
