"""Objects that the controller owns: made once, held by a finalizer, let go when they may leave."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from typing import Any

from claimwright.dra.kube import AlreadyExists, Kube, NotFound, Resource
from claimwright.driver.computedomain.resources import DOMAIN
from claimwright.driver.errors import DriverError

Object = dict[str, Any]


class NameTaken(DriverError):
    """People must act: an object that is none of the domain's has the name that the domain needs."""


def ensure(kube: Kube, resource: Resource, wanted: Object, known: Iterable[Object]) -> Object | None:
    """Return the stored object, made if need be; None while one of that name is on its way out.

    `known` is what the cache has, which may be old. Raises NameTaken; somebody else's object is not touched.
    """
    stored = next((item for item in known if _place(item) == _place(wanted)), None)
    stored = stored or _made_or_found(kube, resource, wanted)
    mine, owner = domain_of(wanted), domain_of(stored)
    if owner not in (None, mine):
        raise _taken(resource, stored, f"belongs to the ComputeDomain of uid {owner}")
    if leaving(stored):
        let_go(kube, resource, stored)
        return None
    if owner is None:
        raise _taken(resource, stored, "was not made for a ComputeDomain")
    return _marked(kube, resource, stored, wanted)


def remove(kube: Kube, resource: Resource, item: Object) -> None:
    """Delete an object and let it go; one that is gone already is fine."""
    metadata = item["metadata"]
    with suppress(NotFound):
        if not leaving(item):
            item = kube.delete(
                resource, metadata["name"], namespace=metadata.get("namespace"), uid=metadata["uid"]
            )
        # Without finalizers it is gone at once, and the answer is no object.
        if leaving(item):
            let_go(kube, resource, item)


def let_go(kube: Kube, resource: Resource, item: Object) -> None:
    """Take the finalizer away; raises Conflict when the object has changed, for its other finalizers' sake."""
    finalizers = item["metadata"].get("finalizers") or []
    if DOMAIN in finalizers:
        patch_metadata(kube, resource, item, finalizers=[each for each in finalizers if each != DOMAIN])


def patch_metadata(kube: Kube, resource: Resource, item: Object, **changes: Any) -> Object:  # noqa: ANN401  JSON
    """Change metadata of exactly the object and version that was read; raises Conflict."""
    metadata = item["metadata"]
    body = {"metadata": {"uid": metadata["uid"], "resourceVersion": metadata["resourceVersion"], **changes}}
    return kube.patch(resource, metadata["name"], body, namespace=metadata.get("namespace"))


def leaving(item: Object) -> bool:
    """Tell whether the object is being deleted."""
    return "deletionTimestamp" in (item.get("metadata") or {})


def domain_of(item: Object) -> str | None:
    """Return the uid of the domain that the object says it belongs to."""
    found = (item["metadata"].get("labels") or {}).get(DOMAIN)
    return None if found is None else str(found)


def _made_or_found(kube: Kube, resource: Resource, wanted: Object) -> Object:
    namespace, name = _place(wanted)
    try:
        return kube.create(resource, wanted, namespace=namespace)
    except AlreadyExists:
        return kube.get(resource, name, namespace=namespace)


def _marked(kube: Kube, resource: Resource, stored: Object, wanted: Object) -> Object:
    """Put labels and finalizer back that somebody took away."""
    labels = stored["metadata"].get("labels") or {}
    finalizers = stored["metadata"].get("finalizers") or []
    if wanted["metadata"]["labels"].items() <= labels.items() and DOMAIN in finalizers:
        return stored
    return patch_metadata(
        kube,
        resource,
        stored,
        labels=wanted["metadata"]["labels"],
        finalizers=[*dict.fromkeys((*finalizers, DOMAIN))],
    )


def _place(item: Object) -> tuple[str, str]:
    return item["metadata"]["namespace"], item["metadata"]["name"]


def _taken(resource: Resource, stored: Object, why: str) -> NameTaken:
    namespace, name = _place(stored)
    return NameTaken(
        f"{resource.kind} {namespace}/{name} {why}, and is left as it is: delete it, "
        "or name another claim template in a new ComputeDomain"
    )
