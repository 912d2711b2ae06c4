"""The driver as a real process on an emulated node, with an API server in memory and ourselves as the kubelet.

Nothing here needs root or Kubernetes: it is for what the driver does to a node (cut, bind, share, undo), over and over,
killed at any moment. What the scheduler and the kubelet make of it is for the scenarios.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
import sys
import tempfile
import textwrap
import uuid
from collections.abc import Coroutine, Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self, TypeVar

from claimwright.dra.cdi import ContainerEdits, load_specs
from claimwright.dra.claims import ClaimReference, ClaimUid
from claimwright.dra.kube import NODES, RESOURCE_CLAIMS, RESOURCE_SLICES
from claimwright.dra.kubelet import PluginClient, find_sockets, wait_for_plugin
from claimwright.dra.plugin import dra_socket
from claimwright.dra.prepared import PreparedDevice
from claimwright.dra.slices import Device, Slice
from claimwright.dra.testing import FakeApi, allocated_claim
from claimwright.dra.wire import DraVersion
from claimwright.e2e.deadlines import wait_until
from claimwright.e2e.driver_process import DriverProcess
from claimwright.e2e.loop_thread import LoopThread
from claimwright.emulator import running
from claimwright.emulator.model import NodeProfile

DRIVER = "gpu.nvidia.com"
NODE = "node-a"
PROGRAM = Path(sys.executable).with_name("claimwright")
START_SECONDS = 30.0
_CALL_SECONDS = 120.0
_Answer = TypeVar("_Answer")


@dataclass(frozen=True)
class Answer:
    """What the driver said about one claim: devices, or an error."""

    devices: tuple[PreparedDevice, ...] = ()
    error: str = ""


@dataclass(frozen=True)
class _Connection:
    """A client of one driver process: `sockets` are others once another process has bound them."""

    client: PluginClient
    sockets: object


class DrivenNode:
    """A node that is up, and the driver on it: `with DrivenNode("hgx-h100") as node: node.start("DynamicMIG=true")`.

    Calls block. `environment` of `start` is for the driver's process, for example to point it elsewhere. `command` is
    the plugin of `driver`.
    """

    def __init__(
        self, profile: NodeProfile | str, *, command: str = "gpu-plugin", driver: str = DRIVER
    ) -> None:
        self._profile = profile
        self._command, self._driver = command, driver
        self._parts = ExitStack()

    def __enter__(self) -> Self:
        # Unix socket paths are short, and pytest's own folders are not.
        self.folder = Path(tempfile.mkdtemp(prefix="cwd"))
        self._parts.callback(shutil.rmtree, self.folder, ignore_errors=True)
        try:
            self.api = self._parts.enter_context(FakeApi())
            self.node = running.up(self._profile, name=f"driven-{uuid.uuid4().hex[:8]}")
            self._parts.callback(running.down, self.node.name)
        except BaseException:
            self._parts.close()
            raise
        self.cdi_root = self._run_folder() / "cdi"
        self.plugins, self.registry = self.folder / "plugins", self.folder / "registry"
        for path in (self.cdi_root, self.plugins, self.registry):
            path.mkdir()
        self.kubeconfig = self.api.kubeconfig(self.folder / "kubeconfig")
        self.api.put(NODES, {"metadata": {"name": NODE}})
        self.log = self.folder / "driver.log"
        self.process: DriverProcess | None = None
        self._loop = self._parts.enter_context(LoopThread())
        self._versions: Mapping[str, str] = {}
        self._slices: list[Slice] = []
        self._connecting = asyncio.Lock()
        self._connections: dict[tuple[str | None, DraVersion], _Connection] = {}
        return self

    def __exit__(self, *_: object) -> None:
        if self.process is not None:
            self.process.kill()
        for connection in self._connections.values():
            self._ask(connection.client.close())
        self._parts.close()

    def start(
        self,
        gates: str = "",
        *flags: str,
        environment: Mapping[str, str] | None = None,
        within: Sequence[str] = (),
    ) -> None:
        """Start the driver and wait until it serves; `within` is a command that runs the one it is given."""
        self.process = DriverProcess(
            [*within, str(PROGRAM), "driver", self._command, "--feature-gates", gates, *flags],
            environment={**self._environment(), **(environment or {})},
            log=self.log,
        )
        self.process.start()
        self._ask(self._info())

    def instance(self, pod_uid: str, gates: str = "", *flags: str) -> DriverProcess:
        """Start one of several drivers on the node, with sockets named by its pod; ask it with `at=pod_uid`."""
        process = DriverProcess(
            [str(PROGRAM), "driver", self._command, "--feature-gates", gates, "--pod-uid", pod_uid, *flags],
            environment=self._environment(),
            log=self.folder / f"{pod_uid}.log",
        )
        self._parts.callback(process.kill)
        process.start()
        return process

    def serves(self, pod_uid: str) -> None:
        """Wait until an instance answers on its own socket."""
        wait_until(
            f"instance {pod_uid}",
            lambda: dra_socket(self.plugins / self._driver, pod_uid).exists(),
            seconds=START_SECONDS,
            seen=lambda: (self.folder / f"{pod_uid}.log").read_text()[-3000:],
        )

    def kill(self) -> None:
        """`kill -9` the driver."""
        assert self.process is not None
        self.process.kill()

    def stop(self) -> None:
        """End the driver as the kubelet does."""
        assert self.process is not None
        self.process.stop()

    def claim(
        self,
        name: str,
        devices: Mapping[str, str] | Sequence[str],
        *,
        configs: Iterable[Mapping[str, Any]] = (),
        pod_claim_name: str | None = None,
        **result: object,
    ) -> ClaimReference:
        """Allocate devices to a new claim: by request, or in requests `r0`, `r1` …; `result` goes into each result.

        `configs` are opaque parameters, as a claim carries them for all its requests.
        """
        by_request = (
            dict(devices) if isinstance(devices, Mapping) else {f"r{n}": d for n, d in enumerate(devices)}
        )
        item = allocated_claim(
            name,
            self._driver,
            [(request, NODE, device) for request, device in by_request.items()],
            configs=[
                {"source": "FromClaim", "opaque": {"driver": self._driver, "parameters": dict(each)}}
                for each in configs
            ],
            pod_claim_name=pod_claim_name,
        )
        for found in item["status"]["allocation"]["devices"]["results"]:
            found.update(result)
        stored = self.api.put(RESOURCE_CLAIMS, item)
        return ClaimReference("default", name, ClaimUid(stored["metadata"]["uid"]))

    def prepare(
        self, *claims: ClaimReference, at: str | None = None, version: DraVersion = "v1"
    ) -> list[Answer]:
        """Ask the driver (an instance with `at`) to prepare, as the kubelet does; one answer per claim."""
        answers = self._ask(self._call("prepare", claims, at, version))
        return [
            Answer(error=found) if isinstance(found, str) else Answer(tuple(found))
            for found in (answers[claim.uid] for claim in claims)
        ]

    def release(
        self, *claims: ClaimReference, at: str | None = None, version: DraVersion = "v1"
    ) -> list[str]:
        """Ask the driver (an instance with `at`) to release; an empty text per claim that went well."""
        answers = self._ask(self._call("release", claims, at, version))
        return [answers[claim.uid] for claim in claims]

    def prepared(self, claim: ClaimReference) -> tuple[PreparedDevice, ...]:
        """Prepare one claim, which must go well."""
        (answer,) = self.prepare(claim)
        assert not answer.error, f"{answer.error}\n{self.log_end()}"
        return answer.devices

    def released(self, claim: ClaimReference) -> None:
        """Release one claim, which must go well."""
        (error,) = self.release(claim)
        assert not error, f"{error}\n{self.log_end()}"

    def edits(self, devices: Iterable[PreparedDevice]) -> ContainerEdits:
        """Return what a container gets that uses all `devices`."""
        return load_specs([self.cdi_root]).resolve([name for each in devices for name in each.cdi_ids])

    def slices(self) -> list[Slice]:
        """Return the published slices; they are read again only when one has changed."""
        versions = self.api.versions(RESOURCE_SLICES)
        if versions != self._versions:
            self._slices = [Slice.from_object(item) for item in self.api.objects(RESOURCE_SLICES)]
            self._versions = versions
        return list(self._slices)

    def devices(self) -> dict[str, Device]:
        """Return the published devices by name, in the scheduler's order."""
        return {device.name: device for found in self.slices() for device in found.devices}

    def wait_devices(self, wanted: Any) -> dict[str, Device]:  # noqa: ANN401  a predicate over the devices
        """Wait until the pool is whole and `wanted(devices)` holds, and return them."""
        wait_until(
            "the devices",
            lambda: is_whole(self.slices()) and bool(wanted(self.devices())),
            seconds=START_SECONDS,
            seen=self.log_end,
        )
        return self.devices()

    def nvml(self, code: str) -> str:
        """Run Python with pynvml as `n`, initialised, in a process that sees the node; return what it prints."""
        script = "import pynvml as n, time, os\nn.nvmlInit()\n" + textwrap.dedent(code)
        done = subprocess.run(
            [sys.executable, "-W", "ignore", "-c", script],
            env=self.node.environment,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    def log_end(self) -> str:
        """Return the last lines of the driver's log."""
        return "" if self.process is None else self.process.log_end()

    def _run_folder(self) -> Path:
        """Return what stands for /var/run, which is in memory on every node, where there is room for that here."""
        memory = Path("/dev/shm")  # noqa: S108
        if not os.access(memory, os.W_OK):
            return self.folder
        folder = Path(tempfile.mkdtemp(prefix="cwd", dir=memory))
        self._parts.callback(shutil.rmtree, folder, ignore_errors=True)
        return folder

    def _environment(self) -> dict[str, str]:
        return {
            "NVIDIA_DRIVER_ROOT": str(self.node.driver_root),
            "DRIVER_ROOT_CTR_PATH": str(self.folder / "not-mounted"),
            "HOST_ROOT": str(self.node.host_root),
            "CDI_ROOT": str(self.cdi_root),
            "KUBELET_PLUGINS_DIRECTORY_PATH": str(self.plugins),
            "KUBELET_REGISTRAR_DIRECTORY_PATH": str(self.registry),
            "KUBECONFIG": str(self.kubeconfig),
            "NODE_NAME": NODE,
        }

    async def _info(self) -> str:
        looking = asyncio.ensure_future(
            wait_for_plugin(self.registry, self._driver, timeout_seconds=START_SECONDS)
        )
        while not looking.done():
            await asyncio.wait({looking}, timeout=0.1)
            if not self._alive():
                looking.cancel()
        self._check_alive()
        return (await looking).endpoint

    def _alive(self) -> bool:
        assert self.process is not None
        return self.process.alive

    def _check_alive(self) -> None:
        if not self._alive():
            raise RuntimeError(f"the driver ended:\n{self.log_end()}")

    async def _call(
        self, verb: str, claims: Sequence[ClaimReference], at: str | None, version: DraVersion
    ) -> Mapping[str, Any]:
        client = await self._client(at, version)
        found: Mapping[str, Any] = await getattr(client, verb)(list(claims))
        return found

    async def _client(self, at: str | None, version: DraVersion) -> PluginClient:
        """Return the connection to the process that serves; like the kubelet, keep it while its socket stays."""
        if at is None:
            self._check_alive()
        async with self._connecting:
            known = self._connections.get((at, version))
            if known is not None and known.sockets == self._sockets(at):
                return known.client
            if known is not None:
                await known.client.close()
            endpoint = await self._info() if at is None else dra_socket(self.plugins / self._driver, at)
            self._connections[at, version] = _Connection(PluginClient(endpoint, version), self._sockets(at))
            return self._connections[at, version].client

    def _sockets(self, at: str | None) -> object:
        if at is None:
            return find_sockets(self.registry)
        status = dra_socket(self.plugins / self._driver, at).stat()
        return status.st_ino, status.st_ctime_ns

    def _ask(self, work: Coroutine[Any, Any, _Answer]) -> _Answer:
        return self._loop.run(work, seconds=_CALL_SECONDS)


def is_whole(slices: Sequence[Slice]) -> bool:
    """Tell whether all slices of the pool are there: while they are being written, no scheduler uses it."""
    newest = max((each.generation for each in slices), default=0)
    current = [each for each in slices if each.generation == newest]
    return all(len(current) == each.slice_count for each in current)
