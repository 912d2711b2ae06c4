"""Records a machine: NVML, sysfs and procfs into a capture without identifiers."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from claimwright.emulator.captures.capture import Capture, parse_capture
from claimwright.emulator.captures.errors import CaptureError, NothingToRecord
from claimwright.emulator.captures.file_leaves import file_leaves
from claimwright.emulator.captures.nvml_leaves import nvml_leaves
from claimwright.emulator.captures.scrubbing import scrub
from claimwright.emulator.running import RunningNode

_SECONDS = 60.0  # a real driver that is cold initialises its GPUs one by one


def record(root: Path = Path("/")) -> Capture:
    """Return what this machine tells; `root` is where its sys/ and proc/ are. NothingToRecord without NVML."""
    leaves = dict(nvml_leaves())
    files = dict(file_leaves(root))
    leaves.update(files)
    leaves.update(_bars(leaves, files))
    return scrub(Capture({path: " ".join(value.split()) for path, value in leaves.items()}))


def _bars(leaves: dict[str, str], files: dict[str, str]) -> dict[str, str]:
    """Give the BARs, which sysfs tells of functions, to the GPUs as well: they are part of a board."""
    by_address = {
        at: files[bars]
        for path, at in files.items()
        if path.startswith("pci.") and path.endswith(".at") and (bars := f"{path[:-2]}bars") in files
    }
    gpus = {path[:-2]: at for path, at in leaves.items() if path.startswith("gpu.") and path.endswith(".at")}
    return {f"{start}pci.bars": by_address[at] for start, at in gpus.items() if at in by_address}


def record_node(node: RunningNode) -> Capture:
    """Record an emulated node as a program on it would: in a process that sees it."""
    environment = {**os.environ, **node.environment}
    command = [sys.executable, "-m", "claimwright.emulator.captures.recording", str(node.host_root)]
    try:
        done = subprocess.run(
            command, env=environment, capture_output=True, text=True, timeout=_SECONDS, check=False
        )
    except subprocess.TimeoutExpired:
        raise CaptureError(f"node {node.name!r} did not answer in {_SECONDS:.0f} s") from None
    if done.returncode != 0:
        raise NothingToRecord(done.stderr.strip().rpartition("\n")[2])
    return parse_capture(done.stdout, f"node {node.name}")


def main(arguments: list[str]) -> int:
    """Write this machine's capture to standard output."""
    try:
        sys.stdout.write(record(Path(arguments[0])).text())
    except (CaptureError, NothingToRecord) as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
