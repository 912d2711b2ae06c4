"""Measure the NVML face of a node of its own: `python emulator/bench/nvml_getters.py` (needs gcc)."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from pathlib import Path

from claimwright.emulator.nvml import compose

_NODE = """
import asyncio, sys
from pathlib import Path
from claimwright.emulator.model import NodeModel, build_node, load_node_profile
from claimwright.emulator.nvml.server import serving
async def run():
    async with serving(Path(sys.argv[1]), NodeModel(build_node(load_node_profile("hgx-h100"), "bench"))):
        print("ready", flush=True)
        await asyncio.Event().wait()
asyncio.run(run())
"""


def main() -> int:
    """Serve a node from one process, run the C loop in another, print its lines."""
    with tempfile.TemporaryDirectory() as folder:
        root = compose(Path(folder) / "root", "580.126.20")
        (root.path / "dev").mkdir()
        for name in ("nvidiactl", *(f"nvidia{minor}" for minor in range(8))):
            (root.path / "dev" / name).touch()
        loop = Path(folder) / "loop"
        source = Path(__file__).with_suffix(".c")
        subprocess.run(["gcc", "-O2", "-o", str(loop), str(source), "-ldl"], check=True, timeout=60)
        node = subprocess.Popen([sys.executable, "-c", _NODE, str(root.socket_path)], stdout=subprocess.PIPE)
        try:
            assert node.stdout is not None
            node.stdout.readline()
            print(f"# {time.strftime('%Y-%m-%d')}, 8 GPUs, emulated", flush=True)
            command = [str(loop), str(root.library_dir / "libnvidia-ml.so.1"), "40"]
            return subprocess.run(command, check=False, timeout=120).returncode
        finally:
            node.kill()
            node.wait(10)


if __name__ == "__main__":
    sys.exit(main())
