"""The install bundle as plain YAML: what a cluster needs before the first claim can be prepared.

All but the namespace is the chart (`driver/chart`) with its default values, written here by
`driver/tools/render_manifests.py`; change it there.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from importlib import resources

from claimwright.driver.errors import NodeUnusable

PARTS = ("namespace", "deviceclasses", "rbac", "admissionpolicy", "daemonset", "networkpolicy")
NAMESPACE = "dra-driver-nvidia-gpu"
IMAGE = "claimwright/driver:0.1.0"
_LABEL = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")
_IMAGE = re.compile(r"[A-Za-z0-9][\w./:@-]*", re.ASCII)


def render(parts: Iterable[str] = PARTS, *, namespace: str = NAMESPACE, image: str = IMAGE) -> str:
    """Return the chosen parts as one YAML stream; NodeUnusable for names that would break it."""
    if not _LABEL.fullmatch(namespace):
        raise NodeUnusable(f"--namespace {namespace!r}: expected lower-case letters, digits and dashes")
    if not _IMAGE.fullmatch(image):
        raise NodeUnusable(f"--image {image!r}: expected an image reference such as {IMAGE}")
    folder = resources.files(__package__)
    texts = [(folder / f"{part}.yaml").read_text(encoding="utf-8") for part in parts]
    return "---\n".join(_adapt(text, namespace, image) for text in texts)


def _adapt(text: str, namespace: str, image: str) -> str:
    text = re.sub(rf"(?m)^(\s*namespace: ){NAMESPACE}$", rf"\g<1>{namespace}", text)
    text = re.sub(rf"(kind: Namespace\nmetadata:\n  name: ){NAMESPACE}\n", rf"\g<1>{namespace}\n", text)
    text = text.replace(f"system:serviceaccount:{NAMESPACE}:", f"system:serviceaccount:{namespace}:")
    return text.replace(IMAGE, image)
