"""Proposals as API objects of resource.k8s.io/v1."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, Final

from claimwright.driver.proposals.proposing import Proposal
from claimwright.driver.settings import GPU_DRIVER

_API_VERSION: Final = "resource.k8s.io/v1"


def objects_of(proposals: Iterable[Proposal], *, namespace: str | None = None) -> tuple[dict[str, Any], ...]:
    """Return a class for each set of devices and a claim template for each way to use them."""
    made = [each for proposal in proposals for each in (_class(proposal), _template(proposal, namespace))]
    return tuple({(each["kind"], each["metadata"]["name"]): each for each in made}.values())


def class_name(proposal: Proposal) -> str:
    """Return the class's name; ways to share a device have the class of the device."""
    return f"{proposal.name}.{proposal.type}.{GPU_DRIVER}"


def _class(proposal: Proposal) -> dict[str, Any]:
    terms = [f"device.driver == {_literal(GPU_DRIVER)}", *_terms(proposal)]
    return {
        "apiVersion": _API_VERSION,
        "kind": "DeviceClass",
        "metadata": {"name": class_name(proposal)},
        "spec": {"selectors": [{"cel": {"expression": " && ".join(terms)}}]},
    }


def _template(proposal: Proposal, namespace: str | None) -> dict[str, Any]:
    exactly: dict[str, Any] = {"deviceClassName": class_name(proposal)}
    if proposal.amounts:
        exactly["capacity"] = {"requests": dict(proposal.amounts)}
    devices: dict[str, Any] = {"requests": [{"name": proposal.type, "exactly": exactly}]}
    if proposal.parameters is not None:
        opaque = {"driver": GPU_DRIVER, "parameters": dict(proposal.parameters)}
        devices["config"] = [{"requests": [proposal.type], "opaque": opaque}]
    where = {"namespace": namespace} if namespace else {}
    return {
        "apiVersion": _API_VERSION,
        "kind": "ResourceClaimTemplate",
        "metadata": {"name": f"{proposal.mode}-{proposal.name}", **where},
        "spec": {"spec": {"devices": devices}},
    }


def _terms(proposal: Proposal) -> Iterator[str]:
    """Yield the type first: a device of another type need not have the other attributes."""
    for name, value in {"type": proposal.type, **proposal.selects}.items():
        yield f"device.attributes[{_literal(GPU_DRIVER)}].{name} == {_literal(value)}"


def _literal(text: str) -> str:
    """Spell a CEL string."""
    escaped = text.replace("\\", "\\\\").replace("'", "\\'")
    return f"'{escaped}'"
