"""A Kubernetes to test on: `local` (real processes, no engine, no registry), `kind`, or any kubeconfig.

`up`, `load`, `down` and `list_clusters` answer alike for every provider; images are composed from files and
imported without a registry.
"""

from claimwright.cluster.errors import ClusterError
from claimwright.cluster.images import (
    Entry,
    ImageFile,
    ImageLink,
    ImageSpec,
    ImageText,
    compose_image,
    program_files,
)
from claimwright.cluster.interface import (
    Cluster,
    ClusterNode,
    ClusterSpec,
    down,
    import_image,
    list_clusters,
    load,
    up,
)
from claimwright.cluster.progress import Lines, Progress, Silent, for_stream

__all__ = [
    "Cluster",
    "ClusterError",
    "ClusterNode",
    "ClusterSpec",
    "Entry",
    "ImageFile",
    "ImageLink",
    "ImageSpec",
    "ImageText",
    "Lines",
    "Progress",
    "Silent",
    "compose_image",
    "down",
    "for_stream",
    "import_image",
    "list_clusters",
    "load",
    "program_files",
    "up",
]
