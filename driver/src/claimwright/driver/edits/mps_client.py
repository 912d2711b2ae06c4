"""What lets a container's programs use an MPS control daemon: its pipe folder and its shared memory."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

from claimwright.dra.cdi import ContainerEdits, Mount
from claimwright.driver.edits.book import EditCall, call
from claimwright.driver.mps.place import Place

NAME: Final = "mps-client"
_PIPE: Final = "/tmp/nvidia-mps"  # noqa: S108  where CUDA looks by default
_SHM: Final = "/dev/shm"  # noqa: S108  the container's own
_OPTIONS: Final = ("rw", "nosuid", "nodev", "bind")


def mps_client(group: str) -> EditCall:
    """Name the edits of the clients of one group."""
    return call(NAME, group=group)


@dataclass(frozen=True)
class MpsClient:
    """Makes them; `daemons` is the folder of all groups, which has the same path on the host."""

    daemons: Path

    def __call__(self, call: EditCall) -> ContainerEdits:
        """Return environment and mounts."""
        place = Place(self.daemons, str(call["group"]))
        return ContainerEdits(
            env=(f"CUDA_MPS_PIPE_DIRECTORY={_PIPE}",),
            mounts=(Mount(str(place.shm), _SHM, _OPTIONS), Mount(str(place.pipe), _PIPE, _OPTIONS)),
        )
