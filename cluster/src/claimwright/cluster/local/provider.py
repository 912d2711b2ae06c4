"""The local provider behind the interface."""

from __future__ import annotations

from pathlib import Path

from claimwright.cluster.interface import Cluster, ClusterSpec
from claimwright.cluster.local import records
from claimwright.cluster.local.teardown import tear_down
from claimwright.cluster.progress import Progress


class Local:
    """Real Kubernetes processes on this machine."""

    def up(self, spec: ClusterSpec, folder: Path, progress: Progress) -> Cluster:
        """Start the control plane, and with root the nodes."""
        from claimwright.cluster.local.start import start  # noqa: PLC0415 - loading and stopping need none of it

        return start(spec, folder, progress)

    def load(self, folder: Path) -> Cluster:
        """Return the cluster from its record when its processes live."""
        return records.load(folder)

    def down(self, folder: Path, progress: Progress) -> None:
        """Remove everything."""
        tear_down(folder, progress)

    def import_image(self, cluster: Cluster, tar: Path) -> None:
        """Import into containerd's namespace of Kubernetes, on every node."""
        from claimwright.cluster.local.images import import_on_nodes  # noqa: PLC0415

        import_on_nodes(cluster, tar)
