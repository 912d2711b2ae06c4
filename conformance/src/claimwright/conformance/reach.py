"""Is there an API server to judge against: asked once, before anything is started or written."""

from __future__ import annotations

from pathlib import Path

from claimwright.conformance.errors import SuiteError, UsageError
from claimwright.dra.errors import DraError
from claimwright.dra.kube import Kube, KubeError

_PATIENCE_SECONDS = 10.0
_DRA = "/apis/resource.k8s.io/v1"


def require_api_server(kubeconfig: Path | None) -> Path:
    """Return the kubeconfig whose API server answered and serves DRA.

    Raises UsageError for a kubeconfig that is not there or cannot be read, SuiteError for a server that does not
    answer or does not serve resource.k8s.io/v1.
    """
    if kubeconfig is None or not kubeconfig.is_file():
        named = "" if kubeconfig is None else str(kubeconfig)
        raise UsageError(
            f"kubeconfig {named!r} is no file: give --kubeconfig or set KUBECONFIG to reach an API server"
        )
    try:
        kube = Kube.from_kubeconfig(kubeconfig, timeout_seconds=_PATIENCE_SECONDS)
    except DraError as error:
        raise UsageError(str(error)) from None
    try:
        kube.server_version()
        kube.raw(_DRA)
    except KubeError as error:
        raise SuiteError(f"{_explained(kubeconfig, error)}; is it up, and is it the right one?") from None
    return kubeconfig


def _explained(kubeconfig: Path, error: KubeError) -> str:
    if error.status == 404:
        return f"the API server of {kubeconfig} serves no resource.k8s.io/v1 (Kubernetes 1.34 or newer does)"
    return f"the API server of {kubeconfig} does not answer: {error}"
