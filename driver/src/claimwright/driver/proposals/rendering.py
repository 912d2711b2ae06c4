"""Proposals as YAML to apply, and as JSON for programs."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict

import yaml

from claimwright.driver.inventory import Inventory
from claimwright.driver.proposals.objects import objects_of
from claimwright.driver.proposals.proposing import Proposal


def as_json(inventory: Inventory, proposals: Sequence[Proposal], *, namespace: str | None) -> str:
    """Return what was found and what is proposed as one JSON object."""
    found = {
        "driverVersion": inventory.driver_version,
        "gpus": [
            {
                "name": gpu.device_name,
                "product": gpu.product_name,
                "uuid": gpu.uuid,
                "pciBusID": gpu.pci_bus_id,
                "memoryBytes": gpu.memory_bytes,
            }
            for gpu in inventory.gpus
        ],
        "leftOut": [asdict(each) for each in inventory.left_out],
        "proposals": [
            {**asdict(each), "objects": objects_of([each], namespace=namespace)} for each in proposals
        ],
    }
    return json.dumps(found, indent=2) + "\n"


def as_yaml(inventory: Inventory, proposals: Sequence[Proposal], *, namespace: str | None) -> str:
    """Return the objects, each after a comment that says what it is for."""
    head = [f"# NVIDIA driver {inventory.driver_version}, GPUs: {len(inventory.gpus)}\n"]
    head += [f"# not offered: {each.name}: {each.reason}\n" for each in inventory.left_out]
    if not proposals:
        return "".join([*head, "# Nothing to propose: this node has no GPU that the driver could offer.\n"])
    written: set[str] = set()
    documents = []
    for proposal in proposals:
        for item in objects_of([proposal], namespace=namespace):
            text = yaml.safe_dump(item, sort_keys=False, width=110)
            if text not in written:
                written.add(text)
                documents.append(f"{_comment(proposal)}{text}")
    return "".join(head) + "---\n".join(documents)


def _comment(proposal: Proposal) -> str:
    needs = [f"--feature-gates {proposal.gate}=true"] if proposal.gate else []
    needs += [proposal.flag] if proposal.flag else []
    needed = f"; the plugin needs {' '.join(needs)}" if needs else ""
    some = ", ".join(proposal.devices[:4]) + (" …" if len(proposal.devices) > 4 else "")
    count = "1 device" if len(proposal.devices) == 1 else f"{len(proposal.devices)} devices"
    return f"# {proposal.mode}: {count} here ({some}){needed}\n"
