"""GPUs that can be cut, in memory."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace

from claimwright.driver.errors import StepFailed
from claimwright.driver.ports import ComputeInstance, MigReading, Partition, PartitionProfile, Placement

# H100 80GB: id, name, compute slices, memory slices, first slices, SMs, copy engines, decoders, JPEG, OFA, MiB.
_H100 = (
    (19, "1g.10gb", 1, 1, (0, 1, 2, 3, 4, 5, 6), 16, 1, 1, 1, 0, 9984),
    (15, "1g.20gb", 1, 2, (0, 2, 4, 6), 16, 1, 1, 1, 0, 20096),
    (14, "2g.20gb", 2, 2, (0, 2, 4), 32, 2, 2, 2, 0, 20096),
    (9, "3g.40gb", 3, 4, (0, 4), 60, 3, 3, 3, 0, 40448),
    (5, "4g.40gb", 4, 4, (0,), 64, 4, 4, 4, 0, 40448),
    (0, "7g.80gb", 7, 8, (0,), 132, 8, 7, 7, 1, 81152),
)


def h100_profiles() -> tuple[PartitionProfile, ...]:
    """Return what an H100 80GB can be cut into."""
    return tuple(
        PartitionProfile(
            profile_id=profile_id,
            name=name,
            compute_slices=compute,
            multiprocessors=sms,
            copy_engines=copies,
            decoders=decoders,
            encoders=0,
            jpeg_engines=jpeg,
            ofa_engines=ofa,
            memory_bytes=mebibytes << 20,
            placements=tuple(Placement(start, slices) for start in starts),
        )
        for profile_id, name, compute, slices, starts, sms, copies, decoders, jpeg, ofa, mebibytes in _H100
    )


class MemoryPartitions:
    """The port `Partitions`; `busy` GPUs refuse to switch or to lose a partition."""

    def __init__(self, gpus: Mapping[str, MigReading] | None = None) -> None:
        self.gpus = dict(gpus or {})
        self.busy: set[str] = set()
        self._made = 0

    def open(self) -> AbstractContextManager[None]:
        """Do nothing around calls."""
        return nullcontext()

    def read(self, gpu_uuid: str) -> MigReading | None:
        """Return mode and partitions."""
        return self.gpus.get(gpu_uuid)

    def switch(self, gpu_uuid: str, *, enabled: bool) -> None:
        """Switch the mode unless the GPU is busy."""
        self._refuse_busy(gpu_uuid)
        self.gpus[gpu_uuid] = replace(self.gpus[gpu_uuid], enabled=enabled, pending=enabled)

    def create(self, gpu_uuid: str, profile_id: int, placement: Placement) -> Partition:
        """Make a partition unless MIG mode is off or its slices are taken."""
        mig = self.gpus[gpu_uuid]
        taken = {number for partition in mig.partitions for number in partition.placement.slices}
        if not mig.enabled or taken & set(placement.slices):
            raise StepFailed(f"GPU {gpu_uuid}: Insufficient Resources")
        self._made += 1
        compute = ComputeInstance(0, f"MIG-{self._made:08d}")
        made = Partition(self._made, profile_id, placement, (compute,))
        self.gpus[gpu_uuid] = replace(mig, partitions=(*mig.partitions, made))
        return made

    def destroy(self, gpu_uuid: str, gpu_instance: int) -> None:
        """Remove a partition unless the GPU is busy."""
        self._refuse_busy(gpu_uuid)
        mig = self.gpus[gpu_uuid]
        left = tuple(each for each in mig.partitions if each.gpu_instance != gpu_instance)
        self.gpus[gpu_uuid] = replace(mig, partitions=left)

    def _refuse_busy(self, gpu_uuid: str) -> None:
        if gpu_uuid in self.busy:
            raise StepFailed(f"GPU {gpu_uuid}: In use by another client")
