"""The install bundle as plain YAML: what a cluster needs before the first claim can be prepared.

All but the namespace is the chart (`driver/chart`) with its default values, written here by
`driver/tools/render_manifests.py`; change it there.
"""

from __future__ import annotations

import base64
import re
import ssl
from collections.abc import Iterable
from importlib import resources

from claimwright.driver.errors import NodeUnusable

PARTS = ("namespace", "deviceclasses", "rbac", "admissionpolicy", "daemonset", "networkpolicy")
# Not part of "all": the webhook needs the authority of the certificate that it serves with, and the definitions are of
# ComputeDomains, which not every cluster has.
OPTIONAL_PARTS = ("crds", "webhook")
NAMESPACE = "dra-driver-nvidia-gpu"
IMAGE = "claimwright/driver:0.1.0"
_AUTHORITY = "CERTIFICATE-AUTHORITY"
_LABEL = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")
_IMAGE = re.compile(r"[A-Za-z0-9][\w./:@-]*", re.ASCII)


def render(
    parts: Iterable[str] = PARTS, *, namespace: str = NAMESPACE, image: str = IMAGE, webhook_ca: str = ""
) -> str:
    """Return the chosen parts as one YAML stream; NodeUnusable for names that would break it.

    `webhook_ca` is PEM: the authority by which the API server knows the webhook.
    """
    if not _LABEL.fullmatch(namespace):
        raise NodeUnusable(f"--namespace {namespace!r}: expected lower-case letters, digits and dashes")
    if not _IMAGE.fullmatch(image):
        raise NodeUnusable(f"--image {image!r}: expected an image reference such as {IMAGE}")
    parts = tuple(parts)
    authority = _authority(webhook_ca) if "webhook" in parts else ""
    folder = resources.files(__package__)
    texts = [(folder / f"{part}.yaml").read_text(encoding="utf-8") for part in parts]
    return "---\n".join(_adapt(text, namespace, image).replace(_AUTHORITY, authority) for text in texts)


def _authority(pem: str) -> str:
    try:
        ssl.create_default_context().load_verify_locations(cadata=pem or "nothing")
    except (ssl.SSLError, ValueError) as error:
        raise NodeUnusable(
            "part webhook needs --webhook-ca: a PEM file with the certificate of the authority that signs the "
            f"webhook's serving certificate ({error})"
        ) from error
    return base64.b64encode(pem.encode()).decode()


def _adapt(text: str, namespace: str, image: str) -> str:
    text = re.sub(rf"(?m)^(\s*namespace: ){NAMESPACE}$", rf"\g<1>{namespace}", text)
    text = re.sub(rf"(kind: Namespace\nmetadata:\n  name: ){NAMESPACE}\n", rf"\g<1>{namespace}\n", text)
    text = text.replace(f"system:serviceaccount:{NAMESPACE}:", f"system:serviceaccount:{namespace}:")
    return text.replace(IMAGE, image)
