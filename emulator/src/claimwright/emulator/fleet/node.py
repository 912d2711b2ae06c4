"""One node of a fleet: a model in this process, and its faces when they are asked for."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from claimwright.emulator import control
from claimwright.emulator.files import faces
from claimwright.emulator.files.plain import PlainTree
from claimwright.emulator.files.tree import Tree
from claimwright.emulator.fleet.sharing import Shared
from claimwright.emulator.model import NodeModel, NodeState


class FleetNode:
    """Answers as `running.RunningNode` does, without a process of its own."""

    def __init__(self, state: NodeState, shared: Shared) -> None:
        self.model = NodeModel(shared.state(state))
        self._shared = shared
        self._files: tuple[int, Tree] | None = None

    @property
    def name(self) -> str:
        """The node's name."""
        return self.state.name

    @property
    def state(self) -> NodeState:
        """The present state."""
        return self.model.snapshot()

    @property
    def clique(self) -> str | None:
        """The NVLink clique that all GPUs are in, as drivers label it; None outside a multi-node domain."""
        found = {gpu.fabric.clique for gpu in self.state.gpus if gpu.fabric}
        return found.pop() if len(found) == 1 else None

    def call(self, operation: str, **arguments: object) -> Any:  # noqa: ANN401 - JSON
        """Apply an operation by name, or "snapshot"; OperationRefused as the hardware says."""
        return control.apply(self.model, operation, arguments)

    def files(self) -> Tree:
        """Return the host root as it is now; rendered once for each state that is asked for."""
        state = self.state
        if self._files is None or self._files[0] != state.revision:
            self._files = (state.revision, self._shared.tree(faces.host_root(state)))
        return self._files[1]

    def forget_files(self) -> None:
        """Let go of the rendered tree."""
        self._files = None

    def render(self, folder: Path) -> PlainTree:
        """Write the host root into a folder; the returned tree follows with `.show(node.files())`."""
        folder.mkdir(parents=True, exist_ok=True)
        plain = PlainTree(folder)
        plain.show(self.files())
        return plain

    @asynccontextmanager
    async def serving(self, folder: Path) -> AsyncIterator[Path]:
        """Serve the node below a folder for as long as the block lasts: `host-root` and, with NVML, `driver-root`.

        Gives the folder of the library, for LD_LIBRARY_PATH; tools are in `driver-root/usr/bin`.
        """
        from claimwright.emulator.files.following import render_files  # noqa: PLC0415 - only where it is served
        from claimwright.emulator.nvml import compose  # noqa: PLC0415 - a compiler only where NVML is served
        from claimwright.emulator.nvml.server import serving  # noqa: PLC0415 - as above

        root = compose(folder / "driver-root", self.state.driver_version)
        async with serving(root.socket_path, self.model):
            with render_files(self.model, folder / "host-root", folder / "driver-root"):
                yield root.library_dir
