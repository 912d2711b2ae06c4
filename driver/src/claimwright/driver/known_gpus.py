"""What was known of the GPUs before the driver's process began, for those that NVML does not wholly describe now.

It describes none that another driver holds or that is lost, and no vGPUs of one that is cut into partitions. Without
this file, a driver that starts then would take their other forms out of the slices, and put them back later. It is
small and not synced: a reboot makes it worthless, and a node without it is read anew.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Collection, Iterable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, Final

from claimwright.dra.files import write_atomically
from claimwright.driver.inventory import Gpu, Inventory
from claimwright.driver.ports import ConditionReading

logger = logging.getLogger(__name__)
NAME: Final = "gpus.json"
_VERSION: Final = 1


class KnownGpus:
    """Reads and writes the file; rubbish in it, or another boot's, counts as nothing known."""

    def __init__(self, path: Path, boot_id: str) -> None:
        self._path = path
        self._boot_id = boot_id
        self._written: tuple[Gpu, ...] = ()

    def complete(self, inventory: Inventory, held: Collection[str]) -> Inventory:
        """Return a first reading with what was known of GPUs that it lacks, and of the vGPUs of those that are cut.

        `held` are the GPUs of claims, by PCI address: one that NVML does not describe is with a virtual machine.
        """
        if not _is_partial(inventory, held):
            return inventory
        known = {gpu.pci_bus_id: gpu for gpu in self._load()}
        here = {gpu.pci_bus_id: _with_vgpus(gpu, known.get(gpu.pci_bus_id)) for gpu in inventory.gpus}
        gpus = {**known, **here}.values()
        return replace(inventory, gpus=tuple(sorted(gpus, key=lambda gpu: gpu.minor)))

    def save(self, gpus: Iterable[Gpu]) -> None:
        """Write what lasts of `gpus` when it is another than was written; a failure is logged."""
        lasting = tuple(map(_lasting, gpus))
        if lasting == self._written:
            return
        record = {"version": _VERSION, "boot": self._boot_id, "gpus": [asdict(gpu) for gpu in lasting]}
        try:
            write_atomically(self._path, json.dumps(record, default=_plain), mode=0o600, durable=False)
            self._written = lasting
        except OSError as error:
            logger.warning("%s cannot be written: %s", self._path, error)

    def _load(self) -> tuple[Gpu, ...]:
        try:
            record = json.loads(self._path.read_text(encoding="utf-8"))
            if record["version"] != _VERSION or record["boot"] != self._boot_id:
                return ()
            return _decode(record["gpus"])
        except FileNotFoundError:
            return ()
        except (OSError, ValueError, KeyError, TypeError) as error:
            logger.warning(
                "%s is not readable, GPUs that NVML does not describe stay unknown: %s", self._path, error
            )
            return ()


def _is_partial(inventory: Inventory, held: Collection[str]) -> bool:
    described = {gpu.pci_bus_id for gpu in inventory.gpus}
    is_cut = any(gpu.mig is not None and gpu.mig.enabled and gpu.vgpus is None for gpu in inventory.gpus)
    return bool(inventory.unreadable) or not described.issuperset(held) or is_cut


def _with_vgpus(gpu: Gpu, known: Gpu | None) -> Gpu:
    return (
        gpu
        if known is None or gpu.vgpus is not None or known.uuid != gpu.uuid
        else replace(gpu, vgpus=known.vgpus)
    )


def _decode(gpus: Any) -> tuple[Gpu, ...]:  # noqa: ANN401  JSON values
    """Check every field; ValueError names the first that is wrong."""
    from pydantic import TypeAdapter  # noqa: PLC0415  10 MB that a start hardly ever needs

    return TypeAdapter(tuple[Gpu, ...]).validate_python(gpus)


def _lasting(gpu: Gpu) -> Gpu:
    """Return it without what is true of a moment only: its state of repair, and who cut it."""
    mig = gpu.mig and replace(gpu.mig, partitions=())
    if mig and gpu.switches_mig:
        mig = replace(mig, enabled=False, pending=False)  # claims switch it to and fro
    vgpus = gpu.vgpus and replace(gpu.vgpus, foreign=())
    return replace(
        gpu, mig=mig, foreign=(), vgpus=vgpus, condition=ConditionReading(), lost=False, unreadable=""
    )


def _plain(value: object) -> object:
    if isinstance(value, frozenset | set):
        return sorted(value)
    raise TypeError(f"{type(value).__name__} has no place in {NAME}")
