"""Remove what a killed run left."""

from __future__ import annotations

from pathlib import Path

from claimwright.conformance.errors import SuiteError, UsageError
from claimwright.conformance.process_records import ProcessRecords
from claimwright.conformance.substrate import sweep
from claimwright.dra.errors import DraError
from claimwright.dra.kube import Kube, KubeError


def sweep_run(run_id: str, kubeconfig: Path) -> list[str]:
    """End the run's processes first, for a living driver would publish again; then remove its objects."""
    if not run_id.replace("-", "").isalnum():
        raise UsageError(
            f"run id {run_id!r}: expected letters, digits and dashes, as in report.json under run.id"
        )
    done = ProcessRecords.of_run(run_id).sweep()
    try:
        kube = Kube.from_kubeconfig(kubeconfig)
    except DraError as error:
        raise UsageError(f"kubeconfig {kubeconfig}: {error}") from None
    try:
        return done + sweep(kube, run_id)
    except KubeError as error:
        raise SuiteError(f"the API server of {kubeconfig}: {error}") from None
