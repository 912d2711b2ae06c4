"""One driver on one node, reached as the kubelet reaches it."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import grpc

from claimwright.conformance import wire
from claimwright.conformance.barriers import wait_until
from claimwright.conformance.declaration import Declaration, Running, fill
from claimwright.conformance.driver_process import DriverProcess
from claimwright.conformance.errors import NotApplicable, SuiteError, Violation
from claimwright.conformance.process_records import ProcessRecords
from claimwright.conformance.published import PublishedPool, read_pools
from claimwright.conformance.transcript import Transcript
from claimwright.dra.kube import RESOURCE_SLICES, Kube

_RESTART_SECONDS: Final = 60
_SHORT_LOOK_SECONDS: Final = 0.3


@dataclass(frozen=True, slots=True)
class Folders:
    """The node's folders as the suite reaches them; unix socket paths under them must stay under 108 bytes."""

    work: Path
    registry: Path
    plugins: Path
    cdi: Path

    @classmethod
    def make(cls) -> Folders:
        """Make a fresh set in a short temporary folder."""
        work = Path(tempfile.mkdtemp(prefix="cw-"))
        folders = cls(work, work / "registry", work / "plugins", work / "cdi")
        for folder in (folders.registry, folders.plugins, folders.cdi):
            folder.mkdir(mode=0o750)
        return folders

    @classmethod
    def of(cls, running: Running) -> Folders:
        """Use the folders of a driver that already runs."""
        return cls(Path(tempfile.mkdtemp(prefix="cw-")), running.registry, running.plugins, running.cdi)


@dataclass(frozen=True, slots=True)
class Registration:
    """A completed handshake: what the plugin said, and where its service answers."""

    socket: Path
    info: wire.Info
    endpoint: Path
    version: str


@dataclass(slots=True)
class Instance:
    """A driver on a node; every wait ends within the declared budgets."""

    declaration: Declaration
    kubeconfig: Path
    node: str
    folders: Folders
    process: DriverProcess | None
    transcript: Transcript
    registration: Registration | None = field(default=None, init=False)
    failure: Violation | None = field(default=None, init=False)
    _service: wire.Socket | None = field(default=None, init=False)
    _unpublished: bool = field(default=False, init=False)

    @property
    def driver(self) -> str:
        """Return the declared driver name."""
        return self.declaration.spec.driver

    def start(self) -> Registration:
        """Start the driver (when it is ours to start) and complete the handshake."""
        if self.process is not None:
            self.process.start()
        return self.handshake()

    def handshake(self) -> Registration:
        """Find the registration socket and register the plugin as the kubelet does."""
        seconds = (
            _SHORT_LOOK_SECONDS
            if self.failure and self.process is None
            else self.declaration.spec.budgets.start_s
        )
        found = wait_until(self._find, seconds, "a registration socket that answers")
        path, info = found
        socket = wire.Socket(path, self.transcript)
        try:
            wire.notify(socket, registered=True)
        except grpc.RpcError as error:
            raise Violation("NotifyRegistrationStatus to succeed", wire.describe(error)) from None
        finally:
            socket.close()
        endpoint = self.reach(Path(info.endpoint)) if info.endpoint else path
        self._service = wire.Socket(endpoint, self.transcript)
        self.registration, self.failure = Registration(path, info, endpoint, self._choose_version(info)), None
        return self.registration

    def reconnect(self, registration: Registration) -> None:
        """Go on with a former registration, as if the kubelet had never restarted."""
        self.registration = registration
        self._service = wire.Socket(registration.endpoint, self.transcript)

    @property
    def service(self) -> wire.Socket:
        """Return the client of the plugin's service socket."""
        if self._service is None:
            raise self.failure or Violation("a registered driver", "none: it was not started")
        return self._service

    def reach(self, inside: Path) -> Path:
        """Translate a path as the driver names it into the suite's own file system."""
        running = self.declaration.spec.running
        for mapping in running.path_map if running else ():
            if inside.is_relative_to(mapping.inside):
                return mapping.outside / inside.relative_to(mapping.inside)
        return inside

    def stop(self) -> int:
        """Stop the driver with SIGTERM and return its exit code."""
        return self._own_process().stop(self.declaration.spec.budgets.stop_s)

    def kill(self) -> None:
        """Kill the driver without a chance to clean up."""
        self._own_process().kill()

    def restart(self, *, kill: bool = False) -> Registration:
        """Stop (or kill) the driver, start it again and register it again."""
        running = self.declaration.spec.running
        if running and running.restart:
            _run_command(running.restart)
        elif kill:
            self.kill()
        else:
            self.stop()
        self.disconnect()
        return self.start()

    def disconnect(self) -> None:
        """Close the connection to the plugin, as a kubelet that ends does."""
        if self._service is not None:
            self._service.close()
            self._service = None

    def close(self) -> None:
        """End the driver if it is ours; always leaves no process behind."""
        self.disconnect()
        if self.process is not None:
            self.process.kill()

    def slices(self, kube: Kube) -> list[dict[str, Any]]:
        """Return the driver's slices for this node, as the API server has them now."""
        selector = f"spec.nodeName={self.node},spec.driver={self.driver}"
        items: list[dict[str, Any]] = kube.list(RESOURCE_SLICES, field_selector=selector)["items"]
        return items

    def pools(self, kube: Kube) -> tuple[PublishedPool, ...]:
        """Wait until every pool of the node is complete and return them.

        A driver that broke this budget once gets a short look from then on: its other checks shall fail in seconds.
        """
        if self.failure and self.process is not None and self.process.exit_code() is not None:
            raise self.failure  # it ended: how it ended says more than that nothing was published
        seconds = _SHORT_LOOK_SECONDS if self._unpublished else self.declaration.spec.budgets.publish_s
        self._unpublished = True
        what = f"complete pools of {self.driver} on node {self.node}"
        pools = wait_until(lambda: self.complete_pools(kube), seconds, what)
        self._unpublished = False
        return pools

    def complete_pools(self, kube: Kube) -> tuple[PublishedPool, ...] | None:
        """Return the pools when each of them is complete now, else None."""
        pools = read_pools(self.slices(kube))
        return pools if pools and all(pool.complete for pool in pools) else None

    def _find(self) -> tuple[Path, wire.Info] | None:
        """Return the first registration socket that answers and, beside other drivers, is the right one."""
        if self.process is not None and not self.process.running():
            code = self.process.exit_code()
            raise Violation(
                "the driver to keep running", f"it ended with code {code}:\n{self.process.last_words()}"
            )
        for path in sorted(self.folders.registry.rglob("*")):
            if path.name.startswith(".") or not path.is_socket():
                continue
            info = self._ask(path)
            if info and (self.process is not None or info.name == self.driver):
                return path, info
        return None

    def _ask(self, path: Path) -> wire.Info | None:
        socket = wire.Socket(path, self.transcript)
        try:
            return wire.get_info(socket)
        except grpc.RpcError:
            return None
        finally:
            socket.close()

    def _choose_version(self, info: wire.Info) -> str:
        """Take the first advertised version that is really served, so that one lie does not hide all else."""
        advertised = [version for version in wire.DRA_SERVICES if f"{version}.DRAPlugin" in info.versions]
        for version in advertised:
            if not wire.prepare(self.service, version, (), 10).rpc_error.startswith("UNIMPLEMENTED"):
                return version
        return advertised[0] if advertised else self.declaration.spec.rpc[0]

    def _own_process(self) -> DriverProcess:
        if self.process is None:
            raise NotApplicable("the driver was declared as running, without a restart command")
        return self.process


def make_instance(
    declaration: Declaration, kubeconfig: Path, node: str, transcript: Transcript, *, run_id: str
) -> Instance:
    """Prepare an instance on fresh folders (`start`) or over a live driver (`running`); starts nothing yet."""
    spec = declaration.spec
    if spec.running is not None:
        folders = Folders.of(spec.running)
        return Instance(declaration, kubeconfig, spec.running.node, folders, None, transcript)
    assert spec.start is not None
    folders = Folders.make()
    values = _values(kubeconfig, node, folders)
    command = [fill(word, values, environment=dict(os.environ)) for word in spec.start.command]
    environment = _environment(spec.start.env, values)
    process = DriverProcess(command, environment, folders.work / "driver.log", ProcessRecords.of_run(run_id))
    return Instance(declaration, kubeconfig, node, folders, process, transcript)


def _values(kubeconfig: Path, node: str, folders: Folders) -> dict[str, str]:
    return {
        "kubeconfig": str(kubeconfig), "node": node, "registry": str(folders.registry),
        "plugins": str(folders.plugins), "cdi": str(folders.cdi), "work": str(folders.work),
        "python": sys.executable,
    }  # fmt: skip


def _environment(extra: Mapping[str, str], values: dict[str, str]) -> dict[str, str]:
    return dict(os.environ) | {
        name: fill(value, values, environment=dict(os.environ)) for name, value in extra.items()
    }


def _run_command(command: tuple[str, ...]) -> None:
    try:
        subprocess.run(command, check=True, timeout=_RESTART_SECONDS, capture_output=True)
    except (OSError, subprocess.SubprocessError) as error:
        raise SuiteError(f"spec.running.restart failed: {error}") from None
