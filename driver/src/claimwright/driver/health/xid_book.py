"""What must outlive the driver's process: XIDs, and the best that was seen of each GPU, in one small file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from claimwright.driver.boot_file import BootFile
from claimwright.driver.health.ailments import Instance
from claimwright.driver.health.diagnosis import Best
from claimwright.driver.health.xids import XidRecord


@dataclass(frozen=True)
class Remembered:
    """XIDs, and by PCI address the best that was seen of each GPU in this boot."""

    xids: tuple[XidRecord, ...] = ()
    best: Mapping[str, Best] = field(default_factory=dict)


class XidBook:
    """Keeps it for the driver's next process, in this boot: a reboot resets the GPUs."""

    def __init__(self, path: Path, boot_id: str) -> None:
        self._file = BootFile(path, boot_id, without="health starts anew")

    def load(self) -> Remembered:
        """Return what was remembered."""
        return self._file.load(_remembered) or Remembered()

    def save(self, remembered: Remembered) -> None:
        """Write it when it changed; where there is nothing to tell, no file is made."""
        nothing = not remembered.xids and all(best == Best() for best in remembered.best.values())
        if nothing and not self._file.exists:
            return
        self._file.save(
            {
                "xids": [_encode(each) for each in remembered.xids],
                "best": {
                    gpu: {"nvlinks": sorted(best.nvlinks), "pcie_width": best.pcie_width}
                    for gpu, best in sorted(remembered.best.items())
                    if best != Best()
                },
            }
        )


def _remembered(record: Mapping[str, Any]) -> Remembered:
    return Remembered(
        tuple(_decode(each) for each in record["xids"]),
        {str(gpu): _decode_best(best) for gpu, best in record["best"].items()},
    )


def _encode(record: XidRecord) -> dict[str, Any]:
    found: dict[str, Any] = {
        "gpu": record.gpu,
        "uuid": record.uuid,
        "xid": record.xid,
        "at": record.at,
        "asked": record.asked,
    }
    if record.gpu_instance is not None and record.instance is not None:
        found["instance"] = [record.gpu_instance, record.instance.profile_id, record.instance.start]
    return found


def _decode_best(record: Mapping[str, Any]) -> Best:
    return Best(frozenset(map(int, record["nvlinks"])), int(record["pcie_width"]))


def _decode(record: Mapping[str, Any]) -> XidRecord:
    instance = record.get("instance")
    gpu_instance, profile_id, start = map(int, instance) if instance else (None, 0, 0)
    return XidRecord(
        gpu=str(record["gpu"]),
        uuid=str(record["uuid"]),
        xid=int(record["xid"]),
        at=float(record["at"]),
        gpu_instance=gpu_instance,
        instance=None if gpu_instance is None else Instance(profile_id, start),
        asked=bool(record["asked"]),
    )
