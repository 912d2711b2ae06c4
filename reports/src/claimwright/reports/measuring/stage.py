"""Everything that a run makes in the cluster stands in one namespace, and goes with it.

The namespace carries a label with the run's id, so that what a killed run left can be found and removed.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from claimwright.dra.kube import (
    DEVICE_CLASSES,
    NAMESPACES,
    PODS,
    RESOURCE_CLAIMS,
    Kube,
    KubeError,
    NotFound,
    Resource,
)
from claimwright.reports.measuring.progress import Progress

LABEL = "reports.claimwright.dev/run"
CLEANUP_SECONDS = 60.0
_POLL_SECONDS = 0.1


@contextmanager
def stage(kube: Kube, run: str, progress: Progress) -> Iterator[str]:
    """Make the run's namespace, give its name, and remove all that is in it at the end, also after Ctrl-C."""
    for left in kube.list(NAMESPACES, label_selector=LABEL)["items"]:
        name = left["metadata"]["name"]
        progress.say(
            f"an earlier run left namespace {name}; remove it with `kubectl delete namespace {name}`"
        )
    namespace = f"claimwright-report-{run}"
    kube.create(NAMESPACES, {"metadata": {"name": namespace, "labels": {LABEL: run}}})
    try:
        yield namespace
    finally:
        progress.say(f"removing namespace {namespace} with all that the run made")
        _clear(kube, namespace, run, progress)


@contextmanager
def device_class(kube: Kube, run: str, driver: str) -> Iterator[str]:
    """Make a DeviceClass that any device of the driver satisfies: none of the cluster is needed."""
    name = f"claimwright-report-{run}"
    selector = {"cel": {"expression": f"device.driver == '{driver}'"}}
    body = {"metadata": {"name": name, "labels": {LABEL: run}}, "spec": {"selectors": [selector]}}
    kube.create(DEVICE_CLASSES, body)
    try:
        yield name
    finally:
        kube.delete(DEVICE_CLASSES, name)


def wait_until(holds: Callable[[], bool], seconds: float) -> bool:
    """Ask until it holds; False after the deadline."""
    until = time.monotonic() + seconds
    while not holds():
        if time.monotonic() > until:
            return False
        time.sleep(_POLL_SECONDS)
    return True


def _clear(kube: Kube, namespace: str, run: str, progress: Progress) -> None:
    until = time.monotonic() + CLEANUP_SECONDS
    selector = f"{LABEL}={run}"
    kube.delete_collection(PODS, namespace=namespace, label_selector=selector)
    # Claims go after their pods: a kubelet must be able to read a claim until it has unprepared it.
    pods_gone = wait_until(lambda: not _names(kube, PODS, namespace), CLEANUP_SECONDS)
    kube.delete_collection(RESOURCE_CLAIMS, namespace=namespace, label_selector=selector)
    kube.delete(NAMESPACES, namespace)
    gone = wait_until(lambda: not _exists(kube, namespace), max(1.0, until - time.monotonic()))
    if not (pods_gone and gone):
        progress.say(
            f"namespace {namespace} is still terminating after {CLEANUP_SECONDS:.0f} s; Kubernetes "
            "goes on with it. "
            f"See what holds it with `kubectl get all,resourceclaims -n {namespace}`"
        )


def _names(kube: Kube, resource: Resource, namespace: str) -> list[str]:
    return [item["metadata"]["name"] for item in kube.list(resource, namespace=namespace)["items"]]


def _exists(kube: Kube, namespace: str) -> bool:
    try:
        kube.get(NAMESPACES, namespace)
    except NotFound:
        return False
    except KubeError as error:
        if error.retryable:
            return True
        raise
    return True
