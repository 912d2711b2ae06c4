"""What must outlive the driver's process: XIDs, and the best that was seen of each GPU, in one small file."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from claimwright.dra.files import write_atomically
from claimwright.driver.health.ailments import Instance
from claimwright.driver.health.diagnosis import Best
from claimwright.driver.health.xids import XidRecord

logger = logging.getLogger(__name__)
_VERSION: Final = 1


@dataclass(frozen=True)
class Remembered:
    """XIDs, and by PCI address the best that was seen of each GPU in this boot."""

    xids: tuple[XidRecord, ...] = ()
    best: Mapping[str, Best] = field(default_factory=dict)


class XidBook:
    """Reads and writes the file; rubbish in it, or another boot's, counts as nothing remembered.

    Not synced: it need not outlive the machine, as a reboot resets the GPUs.
    """

    def __init__(self, path: Path, boot_id: str) -> None:
        self._path = path
        self._boot_id = boot_id
        self._written: str | None = None

    def load(self) -> Remembered:
        """Return what was remembered."""
        try:
            text = self._path.read_text(encoding="utf-8")
            record = json.loads(text)
            if record["version"] != _VERSION or record["boot"] != self._boot_id:
                return Remembered()
            found = Remembered(
                tuple(_decode(each) for each in record["xids"]),
                {str(gpu): _decode_best(best) for gpu, best in record["best"].items()},
            )
        except FileNotFoundError:
            return Remembered()
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            logger.warning("%s is not readable, health starts anew: %s", self._path, error)
            return Remembered()
        self._written = text
        return found

    def save(self, remembered: Remembered) -> None:
        """Write it when it changed; a failure is logged, as the driver works without."""
        text = json.dumps(
            {
                "version": _VERSION,
                "boot": self._boot_id,
                "xids": [_encode(each) for each in remembered.xids],
                "best": {
                    gpu: {"nvlinks": sorted(best.nvlinks), "pcie_width": best.pcie_width}
                    for gpu, best in sorted(remembered.best.items())
                    if best != Best()
                },
            }
        )
        nothing = not remembered.xids and all(best == Best() for best in remembered.best.values())
        if text == self._written or (nothing and self._written is None):
            return
        try:
            write_atomically(self._path, text, mode=0o600, durable=False)
            self._written = text
        except OSError as error:
            logger.warning("%s cannot be written: %s", self._path, error)


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
