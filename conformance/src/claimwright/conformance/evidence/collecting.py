"""The evidence of one id: transcript, slices, CDI specs, the driver's own words."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from claimwright.conformance.cdi_folder import spec_paths
from claimwright.conformance.evidence.redaction import Redaction
from claimwright.conformance.stage import Stage
from claimwright.dra.kube import KubeError


class Collector:
    """Watches one check from its start; `collect` writes `evidence/<id>/`."""

    def __init__(self, folder: Path, stage: Stage, redaction: Redaction) -> None:
        self._folder = folder
        self._stage = stage
        self._redaction = redaction
        self._specs_before = frozenset(spec_paths(stage.instance.folders.cdi))
        self._log_before = self._log_size()

    def leaks(self) -> list[str]:
        """Return CDI specs that appeared during the check and still name one of its claims; removes them."""
        uids = [claim.uid for claim in self._stage.made]
        left: list[str] = []
        for path in spec_paths(self._stage.instance.folders.cdi):
            text = path.name + path.read_text(encoding="utf-8", errors="replace")
            if path not in self._specs_before and any(uid in text for uid in uids):
                left.append(path.name)
                if self._stage.instance.process is not None:
                    path.unlink(missing_ok=True)
        return left

    def collect(self, bundle: Path) -> list[str]:
        """Write the evidence and return its files, relative to the bundle."""
        self._write("transcript.jsonl", self._stage.instance.transcript.as_json_lines())
        self._write("slices.yaml", yaml.safe_dump(self._slices(), sort_keys=True))
        for name, text in sorted(self._stage.specs_seen.items()):
            self._write(f"cdi/{name}", text)
        self._write("driver.log", self._log())
        return sorted(str(path.relative_to(bundle)) for path in self._folder.rglob("*") if path.is_file())

    def _slices(self) -> list[dict[str, Any]]:
        try:
            return self._stage.instance.slices(self._stage.kube)
        except KubeError as error:
            return [{"error": str(error)}]

    def _log_size(self) -> int:
        process = self._stage.instance.process
        return process.log.stat().st_size if process and process.log.exists() else 0

    def _log(self) -> str:
        process = self._stage.instance.process
        if process is None or not process.log.exists():
            return ""
        with process.log.open("rb") as log:
            log.seek(self._log_before)
            return log.read().decode("utf-8", errors="replace")

    def _write(self, name: str, text: str) -> None:
        if text:
            path = self._folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(self._redaction.apply(text), encoding="utf-8")
