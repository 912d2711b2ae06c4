"""A served node for tests: model, pages, socket and library, on a thread of its own; no files but device nodes."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import textwrap
import threading
from pathlib import Path
from typing import Self

from claimwright.emulator.model import NodeModel, NodeState, build_node, load_node_profile
from claimwright.emulator.nvml import DriverRoot, compose
from claimwright.emulator.nvml.server import NvmlServer, serving


class Served:
    """A node, by profile or as a state, that real NVML clients see: `with Served(tmp_path / "root") as node`."""

    def __init__(self, folder: Path, node: str | NodeState = "hgx-h100") -> None:
        state = build_node(load_node_profile(node), "node") if isinstance(node, str) else node
        self.model = NodeModel(state)
        self.root: DriverRoot = compose(folder, self.model.snapshot().driver_version)
        (folder / "dev").mkdir()
        (folder / "dev/nvidiactl").touch()
        for gpu in self.model.snapshot().gpus:
            (folder / f"dev/nvidia{gpu.minor}").touch()
        self.loop = asyncio.new_event_loop()
        self.server: NvmlServer | None = None
        self._ready = threading.Event()
        self._stop = asyncio.Event()
        self._thread = threading.Thread(target=self._serve)

    def _serve(self) -> None:
        async def run() -> None:
            async with serving(self.root.socket_path, self.model) as self.server:
                self._ready.set()
                await self._stop.wait()

        self.loop.run_until_complete(run())
        self.loop.close()

    def __enter__(self) -> Self:
        self._thread.start()
        assert self._ready.wait(20)
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> None:
        """End the node; idempotent."""
        if self._thread.is_alive():
            self.loop.call_soon_threadsafe(self._stop.set)
            self._thread.join(20)

    @property
    def library(self) -> Path:
        """The library file of this node."""
        return self.root.library_dir / "libnvidia-ml.so.1"

    def smi(self, *arguments: str) -> tuple[int, str]:
        """Run the node's nvidia-smi; return its exit code and what it said."""
        done = subprocess.run(
            [self.root.nvidia_smi, *arguments], capture_output=True, text=True, timeout=30, check=False
        )
        return done.returncode, done.stdout + done.stderr

    def python(self, code: str) -> str:
        """Run Python with pynvml as `n`, initialised, in a process that sees this node; return what it prints."""
        environment = {**os.environ, "LD_LIBRARY_PATH": str(self.root.library_dir)}
        script = "import pynvml as n, time, os\nn.nvmlInit()\n" + textwrap.dedent(code)
        done = subprocess.run(
            [sys.executable, "-W", "ignore", "-c", script],
            env=environment,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()
