"""The `helm` command, and the driver's chart."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from claimwright.cluster import folders, versions
from claimwright.cluster.binaries import COMPONENTS, Cache

CHART: Final = Path(__file__).parents[4] / "driver/chart"
RELEASE: Final = "dra-driver-nvidia-gpu"
_SECONDS: Final = 120.0


class HelmRefused(Exception):
    """Helm ended with an error; the message is what it said."""


@dataclass(frozen=True)
class Helm:
    """One `helm` program; `kubeconfig` where it speaks to a cluster."""

    program: Path
    kubeconfig: Path | None = None

    def template(self, *arguments: str, namespace: str = RELEASE) -> str:
        """Render the chart without a cluster; HelmRefused with the chart's or the schema's words."""
        return self._run("template", RELEASE, str(CHART), "--namespace", namespace, *arguments)

    def lint(self, *arguments: str) -> str:
        """Check the chart's form; HelmRefused names the file."""
        return self._run("lint", "--strict", "--quiet", str(CHART), "--namespace", RELEASE, *arguments)

    def install(self, *arguments: str, namespace: str = RELEASE) -> str:
        """Install or upgrade the release and wait until its pods are ready."""
        words = ("--namespace", namespace, "--create-namespace", "--wait", "--timeout", "90s")
        return self._run("upgrade", "--install", RELEASE, str(CHART), *words, *arguments)

    def uninstall(self, *, namespace: str = RELEASE) -> str:
        """Remove the release and wait until its objects are gone."""
        return self._run("uninstall", RELEASE, "--namespace", namespace, "--wait", "--timeout", "90s")

    def _run(self, *words: str) -> str:
        flags = ["--kubeconfig", str(self.kubeconfig)] if self.kubeconfig else []
        ended = subprocess.run(
            [self.program, *words, *flags], capture_output=True, text=True, timeout=_SECONDS, check=False
        )
        if ended.returncode != 0:
            raise HelmRefused(ended.stderr.strip())
        return ended.stdout


def find_helm() -> Path | None:
    """Return helm from PATH or from the cache of programs; None where it would have to be made first."""
    if found := shutil.which("helm"):
        return Path(found)
    return Cache(folders.cache_folder()).find(
        COMPONENTS["helm"], versions.kubernetes_version(versions.DEFAULT_MINOR)
    )


def as_flags(values: Mapping[str, str]) -> Sequence[str]:
    """Return values as command line flags of helm."""
    return [word for name, value in values.items() for word in ("--set", f"{name}={value}")]
