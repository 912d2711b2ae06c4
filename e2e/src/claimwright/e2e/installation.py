"""The driver's chart on a cluster: installed, upgraded, removed, and looked at."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from typing import Any, Final

from claimwright.e2e import helm as helm_door
from claimwright.e2e.deadlines import wait_until
from claimwright.e2e.helm import Helm
from claimwright.e2e.kubernetes_door import Kubernetes

_SLICES: Final = "/apis/resource.k8s.io/v1/resourceslices"
_RBAC: Final = "/apis/rbac.authorization.k8s.io/v1"
_ADMISSION: Final = "/apis/admissionregistration.k8s.io/v1"
# Where what the chart installs may be, whichever namespace it is in.
_KINDS: Final = (
    "/apis/resource.k8s.io/v1/deviceclasses", f"{_RBAC}/clusterroles", f"{_RBAC}/clusterrolebindings",
    f"{_RBAC}/roles", f"{_RBAC}/rolebindings", f"{_ADMISSION}/validatingadmissionpolicies",
    f"{_ADMISSION}/validatingadmissionpolicybindings", f"{_ADMISSION}/validatingwebhookconfigurations",
    "/apis/apps/v1/daemonsets", "/apis/apps/v1/deployments", "/api/v1/serviceaccounts", "/api/v1/services",
    "/api/v1/secrets", "/apis/networking.k8s.io/v1/networkpolicies",
)  # fmt: skip
_SECONDS: Final = 60.0


class Installation:
    """One cluster with the chart on it or not; `published` says whether the devices that are meant to be are there."""

    def __init__(
        self,
        kubernetes: Kubernetes,
        helm: Helm,
        *,
        values: Mapping[str, str],
        published: Callable[[], bool],
    ) -> None:
        self.took: dict[str, float] = {}
        self._kubernetes = kubernetes
        self._helm = helm
        self._values = values
        self._published = published
        self._installed = False

    def install(self, values: Mapping[str, str] | None = None) -> None:
        """Install or upgrade the chart, and wait until the devices are published."""
        if self._installed and values is None:
            return
        with self.timed("chart installed"):
            self._helm.install(*helm_door.as_flags({**self._values, **(values or {})}))
        with self.timed("devices published"):
            wait_until("the devices of the driver", self._published, seconds=_SECONDS, seen=self.story)
        self._installed = True

    def uninstall(self) -> None:
        """Uninstall the chart and wait until its objects and pods are gone."""
        with self.timed("chart uninstalled"):
            self._helm.uninstall()
            wait_until("no pod of the driver", lambda: not self.pods(), seconds=_SECONDS)
        self._installed = False

    def slices(self, driver: str) -> list[dict[str, Any]]:
        """Every ResourceSlice of a driver, of complete pools or not."""
        return list(self._kubernetes.get(_SLICES, fieldSelector=f"spec.driver={driver}")["items"])

    def cluster_objects(self) -> list[str]:
        """Everything of the cluster that carries the chart's names."""
        names = (
            f"{path}/{item['metadata']['name']}"
            for path in _KINDS
            for item in self._kubernetes.get(path)["items"]
        )
        return [
            name
            for name in names
            if any(word in name for word in (helm_door.RELEASE, "nvidia", "compute-domain"))
        ]

    def pods(self, component: str = "") -> list[dict[str, Any]]:
        """The driver's pods, or those whose name has `component` in it."""
        found = self._kubernetes.get(f"/api/v1/namespaces/{helm_door.RELEASE}/pods")["items"]
        return [pod for pod in found if component in pod["metadata"]["name"]]

    def logs(self, component: str, container: str) -> str:
        """The end of what a container of each of these pods has logged."""
        names = (pod["metadata"]["name"] for pod in self.pods(component))
        return "\n".join(self._kubernetes.logs(helm_door.RELEASE, name, container)[-3000:] for name in names)

    def story(self) -> str:
        """How each pod of the driver is: what one reads when something does not come."""
        return "\n".join(_story(pod) for pod in self.pods())

    @contextmanager
    def timed(self, what: str) -> Generator[None, None, None]:
        """Remember how long something took, in seconds."""
        start = time.monotonic()
        yield
        self.took[what] = round(time.monotonic() - start, 1)


def _story(pod: Mapping[str, Any]) -> str:
    containers = [
        f"{each['name']} {'ready' if each['ready'] else 'not ready'}, {each['restartCount']} restarts, {each['state']}"
        for each in pod["status"].get("containerStatuses", ())
    ]
    where = pod["spec"].get("nodeName")
    return f"{pod['metadata']['name']} on {where}: {pod['status'].get('phase')}; {containers}"
