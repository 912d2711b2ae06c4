"""A cluster for the time of one command: start, run, remove."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Sequence

from claimwright.cluster import errors, interface
from claimwright.cluster.interface import ClusterSpec
from claimwright.cluster.progress import Progress

# The second name lets a test suite tell a cluster that was made for it from the user's own.
KUBECONFIG_NAMES = ("KUBECONFIG", "CLAIMWRIGHT_TEST_KUBECONFIG")


def run_on_cluster(spec: ClusterSpec, command: Sequence[str], *, progress: Progress) -> int:
    """Start the cluster, run `command` with its kubeconfig in the environment, remove it; return its exit code.

    An exception ends the command first and then the cluster: the command line raises one for SIGTERM and Ctrl-C.
    """
    made = interface.up(spec, progress=progress)
    try:
        return _run(command, {name: os.fspath(made.kubeconfig) for name in KUBECONFIG_NAMES})
    finally:
        interface.down(spec.name, progress=progress)


def _run(command: Sequence[str], environment: dict[str, str]) -> int:
    try:
        process = subprocess.Popen(command, env={**os.environ, **environment})
    except OSError as error:
        raise errors.InvalidRequest(f"{command[0]!r} cannot be run: {error.strerror}") from error
    try:
        return process.wait()
    finally:
        if process.poll() is None:
            process.terminate()
            process.wait()
