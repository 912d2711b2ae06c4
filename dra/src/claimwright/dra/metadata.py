"""Device metadata files (KEP-5304): what a container learns about its devices.

A file is a stream of JSON objects, one for each API version, newest first; a reader takes the first version
that it knows and skips the others.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from claimwright.dra.errors import DraError
from claimwright.dra.prepared import NetworkData
from claimwright.dra.slices.devices import Attribute, Version, attribute_object

GROUP: Final = "metadata.resource.k8s.io"
KIND: Final = "DeviceMetadata"
# Both have the same fields: v1beta1 is what readers of Kubernetes 1.37 want, v1alpha1 what those before it know.
VERSIONS: Final = ("v1beta1", "v1alpha1")
CONTAINER_FOLDER: Final = "/var/run/kubernetes.io/dra-device-attributes"


class MalformedMetadata(DraError):
    """A metadata file that cannot be read; the message names the file or the field."""


@dataclass(frozen=True, slots=True)
class DeviceEntry:
    """One device of a request."""

    driver: str
    pool: str
    name: str
    attributes: Mapping[str, Attribute]
    network: NetworkData | None = None


@dataclass(frozen=True, slots=True)
class RequestEntry:
    """The devices of one request; the name of a chosen subrequest is `request/subrequest`."""

    name: str
    devices: tuple[DeviceEntry, ...]


@dataclass(frozen=True, slots=True)
class DeviceMetadata:
    """All that one file says about a claim; `generation` counts its rewrites from 1."""

    namespace: str
    name: str
    uid: str
    requests: tuple[RequestEntry, ...]
    pod_claim_name: str | None = None
    generation: int = 1


def container_path(driver: str, request: str, *, claim: str, pod_claim_name: str | None) -> str:
    """Give the path of a request's file inside containers; a template claim goes by its name in the pod."""
    place = f"resourceclaimtemplates/{pod_claim_name}" if pod_claim_name else f"resourceclaims/{claim}"
    return f"{CONTAINER_FOLDER}/{place}/{request}/{driver}-metadata.json"


def encode(metadata: DeviceMetadata, *, versions: Sequence[str] = VERSIONS) -> str:
    """Write the stream with one object for each of `versions`, in the given order (newest first)."""
    return "".join(json.dumps(_object(metadata, version), indent=2) + "\n" for version in versions)


def decode(text: str, *, known: Sequence[str] = VERSIONS, source: str = "device metadata") -> DeviceMetadata:
    """Read the first object whose version is known; raises MalformedMetadata."""
    seen = []
    for document in _documents(text, source):
        if document.get("apiVersion") in {f"{GROUP}/{version}" for version in known}:
            return _metadata(document, source)
        seen.append(str(document.get("apiVersion")))
    wanted = ", ".join(f"{GROUP}/{version}" for version in known)
    raise MalformedMetadata(f"{source}: holds versions {seen}, expected one of {wanted}")


def read(path: Path, *, known: Sequence[str] = VERSIONS) -> DeviceMetadata:
    """Read a metadata file; raises MalformedMetadata, FileNotFoundError."""
    return decode(path.read_text(), known=known, source=str(path))


def rewrite(path: Path, metadata: DeviceMetadata, *, versions: Sequence[str] = VERSIONS) -> DeviceMetadata:
    """Replace the content of an existing file and count its generation up; gives what was written.

    The inode stays, because running containers have it bind-mounted. One write covers the whole old content,
    so that a reader sees no mixture of the two; raises FileNotFoundError if the file was never written.
    """
    fresh = replace(metadata, generation=read(path, known=versions).generation + 1)
    data = encode(fresh, versions=versions).encode()
    descriptor = os.open(path, os.O_WRONLY)
    try:
        os.pwrite(descriptor, data.ljust(os.fstat(descriptor).st_size, b"\n"), 0)
        os.ftruncate(descriptor, len(data))
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    return fresh


def _object(metadata: DeviceMetadata, version: str) -> dict[str, Any]:
    pod_claim = {"podClaimName": metadata.pod_claim_name} if metadata.pod_claim_name else {}
    return {
        "apiVersion": f"{GROUP}/{version}",
        "kind": KIND,
        "metadata": {
            "name": metadata.name,
            "namespace": metadata.namespace,
            "uid": metadata.uid,
            "generation": metadata.generation,
        },
        **pod_claim,
        "requests": [
            {"name": request.name, "devices": [_device_object(device) for device in request.devices]}
            for request in metadata.requests
        ],
    }


def _device_object(device: DeviceEntry) -> dict[str, Any]:
    found: dict[str, Any] = {"driver": device.driver, "pool": device.pool, "name": device.name}
    if device.attributes:
        found["attributes"] = {name: attribute_object(value) for name, value in device.attributes.items()}
    if device.network is not None:
        network = {
            "interfaceName": device.network.interface_name,
            "ips": list(device.network.ips),
            "hardwareAddress": device.network.hardware_address,
        }
        found["networkData"] = {name: value for name, value in network.items() if value}
    return found


def _documents(text: str, source: str) -> Iterator[Mapping[str, Any]]:
    decoder, at = json.JSONDecoder(), 0
    while (at := len(text) - len(text[at:].lstrip())) < len(text):
        try:
            document, at = decoder.raw_decode(text, at)
        except ValueError as error:
            raise MalformedMetadata(f"{source}: is no stream of JSON objects: {error}") from error
        if not isinstance(document, dict):
            raise MalformedMetadata(f"{source}: holds {document!r}, expected an object")
        yield document


def _metadata(document: Mapping[str, Any], source: str) -> DeviceMetadata:
    try:
        identity = document["metadata"]
        return DeviceMetadata(
            namespace=identity["namespace"],
            name=identity["name"],
            uid=identity["uid"],
            generation=int(identity.get("generation") or 1),
            pod_claim_name=document.get("podClaimName"),
            requests=tuple(
                RequestEntry(item["name"], tuple(_device(device) for device in item.get("devices") or ()))
                for item in document.get("requests") or ()
            ),
        )
    except KeyError as error:
        raise MalformedMetadata(f"{source}: the field {error.args[0]!r} is missing") from error
    except (TypeError, AttributeError, ValueError) as error:
        raise MalformedMetadata(f"{source}: {error}") from error


def _device(item: Mapping[str, Any]) -> DeviceEntry:
    network = item.get("networkData")
    return DeviceEntry(
        driver=item["driver"],
        pool=item["pool"],
        name=item["name"],
        attributes={name: _attribute(value) for name, value in (item.get("attributes") or {}).items()},
        network=None if network is None else _network(network),
    )


def _network(network: Mapping[str, Any]) -> NetworkData:
    return NetworkData(
        interface_name=network.get("interfaceName"),
        ips=tuple(network.get("ips") or ()),
        hardware_address=network.get("hardwareAddress"),
    )


def _attribute(value: Mapping[str, Any]) -> Attribute:
    ((kind, content),) = value.items()
    if kind in ("version", "versions"):
        return tuple(Version(item) for item in content) if kind == "versions" else Version(content)
    return tuple(content) if isinstance(content, list) else content
