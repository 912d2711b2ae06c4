"""What was known of the GPUs before the driver's process began, for those that NVML does not wholly describe now.

It describes none that another driver holds or that is lost, and no vGPUs of one that is cut into partitions. Without
this file, a driver that starts then would take their other forms out of the slices, and put them back later.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, Final

from claimwright.driver.boot_file import BootFile
from claimwright.driver.inventory import Gpu, Inventory
from claimwright.driver.ports import ConditionReading

NAME: Final = "gpus.json"


class KnownGpus:
    """Keeps them for the driver's next process, in this boot."""

    def __init__(self, path: Path, boot_id: str) -> None:
        self._file = BootFile(path, boot_id, without="GPUs that NVML does not describe stay unknown")
        self._saved: tuple[Gpu, ...] = ()

    def complete(self, inventory: Inventory, held: Collection[str]) -> Inventory:
        """Return a first reading with what was known of GPUs that it lacks, and of the vGPUs of those that are cut.

        `held` are the GPUs of claims, by PCI address: one that NVML does not describe is with a virtual machine.
        """
        if not _is_partial(inventory, held):
            return inventory
        known = {gpu.pci_bus_id: gpu for gpu in self._file.load(_decode) or ()}
        here = {gpu.pci_bus_id: _with_vgpus(gpu, known.get(gpu.pci_bus_id)) for gpu in inventory.gpus}
        gpus = {**known, **here}.values()
        return replace(inventory, gpus=tuple(sorted(gpus, key=lambda gpu: gpu.minor)))

    def save(self, gpus: Iterable[Gpu]) -> None:
        """Write what lasts of `gpus` when it is another than was written."""
        lasting = tuple(map(_lasting, gpus))
        # Each reading saves, and to spell them out takes longer than to compare them.
        if lasting != self._saved and self._file.save({"gpus": [asdict(gpu) for gpu in lasting]}):
            self._saved = lasting


def _is_partial(inventory: Inventory, held: Collection[str]) -> bool:
    described = {gpu.pci_bus_id for gpu in inventory.gpus}
    is_cut = any(gpu.mig is not None and gpu.mig.enabled and gpu.vgpus is None for gpu in inventory.gpus)
    return bool(inventory.unreadable) or not described.issuperset(held) or is_cut


def _with_vgpus(gpu: Gpu, known: Gpu | None) -> Gpu:
    is_same = known is not None and known.uuid == gpu.uuid
    return replace(gpu, vgpus=known.vgpus) if known and is_same and gpu.vgpus is None else gpu


def _decode(record: Mapping[str, Any]) -> tuple[Gpu, ...]:
    """Check every field; ValueError names the first that is wrong."""
    from pydantic import TypeAdapter  # noqa: PLC0415  10 MB that a start hardly ever needs

    return TypeAdapter(tuple[Gpu, ...]).validate_python(record["gpus"])


def _lasting(gpu: Gpu) -> Gpu:
    """Return it without what is true of a moment only: its state of repair, and who cut it."""
    mig = gpu.mig and replace(gpu.mig, partitions=())
    if mig and gpu.switches_mig:
        mig = replace(mig, enabled=False, pending=False)  # claims switch it to and fro
    vgpus = gpu.vgpus and replace(gpu.vgpus, foreign=())
    return replace(
        gpu, mig=mig, foreign=(), vgpus=vgpus, condition=ConditionReading(), lost=False, unreadable=""
    )
