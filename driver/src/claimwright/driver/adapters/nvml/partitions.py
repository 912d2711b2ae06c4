"""Cutting GPUs through NVML."""

from __future__ import annotations

import ctypes
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import replace
from typing import Any, Final

import pynvml

from claimwright.driver.adapters.nvml.migs import mig_of, partitions_of
from claimwright.driver.adapters.nvml.profiles import ProfileBook
from claimwright.driver.adapters.nvml.session import NvmlSession
from claimwright.driver.errors import GpuGone, StepFailed
from claimwright.driver.ports import MigReading, Partition, Placement

# nvml.h: the compute instance profile that fills a GPU instance of so many compute slices.
_FILLING: Final = {1: 0, 2: 1, 3: 2, 4: 3, 7: 4, 8: 5, 6: 6}
_COMPUTE_PROFILES: Final = range(9)
# A GPU that was pulled out, or that fell off the bus: partitions do not outlive the reset that it needs.
_GONE: Final = (pynvml.NVML_ERROR_NOT_FOUND, pynvml.NVML_ERROR_GPU_IS_LOST)


class NvmlPartitions:
    """The port `Partitions` over NVML."""

    def __init__(self, session: NvmlSession, profiles: ProfileBook) -> None:
        self._session = session
        self._profiles = profiles

    def open(self) -> AbstractContextManager[None]:
        """Have NVML ready within this context."""
        return self._session.open()

    def read(self, gpu_uuid: str) -> MigReading | None:
        """Return mode and partitions now, without profiles."""
        with self._gpu(gpu_uuid, "read MIG") as handle:
            found = mig_of(handle, self._profiles.known)
        return None if found is None else replace(found, profiles=())

    def switch(self, gpu_uuid: str, *, enabled: bool) -> None:
        """Switch MIG mode at once; StepFailed when a client or the hardware stands in the way."""
        word = "on" if enabled else "off"
        with self._gpu(gpu_uuid, f"switch MIG mode {word}") as handle:
            status = pynvml.nvmlDeviceSetMigMode(handle, int(enabled))
            current, _ = pynvml.nvmlDeviceGetMigMode(handle)
        if bool(current) != enabled:
            raise StepFailed(
                f"MIG mode of GPU {gpu_uuid} did not switch {word}: {_status(status)}. Stop what uses the GPU, "
                "or reset it where the board needs a reset; the kubelet tries again."
            )

    def create(self, gpu_uuid: str, profile_id: int, placement: Placement) -> Partition:
        """Make a GPU instance there and one compute instance that fills it; what fails leaves nothing."""
        what = f"create a partition of profile {profile_id} at memory slice {placement.start}"
        with self._gpu(gpu_uuid, what) as handle:
            where = pynvml.c_nvmlGpuInstancePlacement_t(start=placement.start, size=placement.size)
            instance = pynvml.nvmlDeviceCreateGpuInstanceWithPlacement(
                handle, profile_id, ctypes.byref(where)
            )
            try:
                pynvml.nvmlGpuInstanceCreateComputeInstance(
                    instance, self._filling(handle, profile_id, instance)
                )
                made = int(pynvml.nvmlGpuInstanceGetInfo(instance).id)
                return _listed(partitions_of(handle, [profile_id]), made, gpu_uuid)
            except BaseException:
                _remove(instance)
                raise

    def destroy(self, gpu_uuid: str, gpu_instance: int) -> None:
        """Remove a GPU instance with all in it; one that is gone is fine."""
        with self._gpu(gpu_uuid, f"destroy GPU instance {gpu_instance}") as handle:
            try:
                instance = pynvml.nvmlDeviceGetGpuInstanceById(handle, gpu_instance)
            except pynvml.NVMLError_NotFound:
                self._check_gone(handle, gpu_instance)
                return
            _empty(instance)
            pynvml.nvmlGpuInstanceDestroy(instance)

    def _check_gone(self, handle: Any, gpu_instance: int) -> None:  # noqa: ANN401  an opaque C pointer
        """Raise StepFailed for an instance that NVML lists: what is forgotten while it exists is never removed."""
        reading = mig_of(handle, self._profiles.known)
        partitions = reading.partitions if reading is not None else ()
        if any(each.gpu_instance == gpu_instance for each in partitions):
            raise StepFailed(
                f"NVML lists GPU instance {gpu_instance} and does not find it; the kubelet tries again"
            )

    def _filling(self, handle: Any, profile_id: int, instance: Any) -> int:  # noqa: ANN401  opaque C pointers
        """Return the id of the compute instance profile that takes all of `instance`."""
        profiles = self._profiles.known(handle)
        slices = next((each.compute_slices for each in profiles if each.profile_id == profile_id), None)
        if slices is None:
            raise StepFailed(f"NVML does not list the GPU's profile {profile_id}; the kubelet tries again")
        return int(pynvml.nvmlGpuInstanceGetComputeInstanceProfileInfo(instance, _FILLING[slices], 0).id)

    @contextmanager
    def _gpu(self, uuid: str, what: str) -> Iterator[Any]:
        with self._session.open():
            try:
                handle = pynvml.nvmlDeviceGetHandleByUUID(uuid)
            except pynvml.NVMLError as error:
                kind = GpuGone if error.value in _GONE else StepFailed
                raise kind(f"GPU {uuid}: NVML could not {what}: {error}") from error
            try:
                yield handle
            except pynvml.NVMLError as error:
                kind = GpuGone if error.value == pynvml.NVML_ERROR_GPU_IS_LOST else StepFailed
                raise kind(f"GPU {uuid}: NVML could not {what}: {error}") from error


def _remove(instance: Any) -> None:  # noqa: ANN401  an opaque C pointer
    """Take back what was half made; what stays in the way of that is told by who tries next."""
    with suppress(pynvml.NVMLError):
        _empty(instance)
        pynvml.nvmlGpuInstanceDestroy(instance)


def _empty(instance: Any) -> None:  # noqa: ANN401  an opaque C pointer
    for compute in list(_compute_instances(instance)):
        pynvml.nvmlComputeInstanceDestroy(compute)


def _compute_instances(instance: Any) -> Iterator[Any]:  # noqa: ANN401
    for enumerator in _COMPUTE_PROFILES:
        try:
            info = pynvml.nvmlGpuInstanceGetComputeInstanceProfileInfo(instance, enumerator, 0)
        except pynvml.NVMLError:
            continue
        count = ctypes.c_uint(int(info.instanceCount) or 8)
        room = (pynvml.c_nvmlComputeInstance_t * count.value)()
        pynvml.nvmlGpuInstanceGetComputeInstances(instance, info.id, room, ctypes.byref(count))
        yield from (room[number] for number in range(count.value))


def _status(code: int) -> str:
    try:
        return str(pynvml.NVMLError(code))
    except (KeyError, TypeError):
        return f"activation status {code}"


def _listed(partitions: Iterable[Partition], gpu_instance: int, gpu_uuid: str) -> Partition:
    """Return a partition that was just made, as NVML lists it; StepFailed when it cannot be used so."""
    found = next((each for each in partitions if each.gpu_instance == gpu_instance), None)
    if found is None or not found.compute_instances:
        raise StepFailed(
            f"GPU {gpu_uuid}: NVML made GPU instance {gpu_instance}, and does not list it with its "
            "compute instance; the kubelet tries again"
        )
    return found
