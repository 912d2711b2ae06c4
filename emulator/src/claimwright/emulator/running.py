"""Boot nodes, find them, stop them: what the command line and other rooms call.

A node is a detached process with a folder. `down` needs neither to be whole: it works after `kill -9` of the
node or of the `up` that was starting it.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import shutil
import signal
import subprocess
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from claimwright.dra.files import write_atomically
from claimwright.emulator.control import call
from claimwright.emulator.errors import BootFailed, MountRefused, NodeError, NodeNotFound, ProfileError
from claimwright.emulator.files import machine
from claimwright.emulator.files.fuse_mounts import unmount_leftovers, usable
from claimwright.emulator.files.mounts import Attachment, detach
from claimwright.emulator.interpreter import environment, module_command
from claimwright.emulator.model import NodeProfile, NodeState, build_node, load_node_profile
from claimwright.emulator.model.catalogue import find_node_profile
from claimwright.emulator.node_folder import NodeFolder, NodeLock, holder, nodes_folder
from claimwright.emulator.node_request import Request
from claimwright.emulator.nvml.driver_root import LIBRARY_FOLDER, compose
from claimwright.emulator.nvml.errors import NotCompiled

Progress = Callable[[str], None]
FilesAs = Literal["auto", "fuse", "plain"]
_BOOT_SECONDS = 30.0
_STOP_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class RunningNode:
    """A node that is up; `host_root` holds its sys/, proc/ and dev/: `/` inside an attached namespace.

    With `acting_files` a write to one of them does what it does in the kernel; without, files only show, and
    `why_files_only_show` says what is missing.
    """

    name: str
    folder: Path
    profile: str
    driver_root: Path
    host_root: Path
    pid: int
    title: str = ""
    mount_namespace: Path | None = None
    why_files_only_show: str | None = None

    @property
    def acting_files(self) -> bool:
        """Tell whether writes act."""
        return self.why_files_only_show is None

    @property
    def environment(self) -> dict[str, str]:
        """The variables to add for a process that should see this node (PATH extends this process's own)."""
        path = os.pathsep.join([str(self.driver_root / "usr/bin"), os.environ.get("PATH", os.defpath)])
        return {
            "CLAIMWRIGHT_NODE": self.name,
            "PATH": path,
            "LD_LIBRARY_PATH": str(self.driver_root / LIBRARY_FOLDER),
            "NVIDIA_DRIVER_ROOT": str(self.driver_root),
            "HOST_ROOT": str(self.host_root),
        }

    def call(self, operation: str, **arguments: object) -> Any:  # noqa: ANN401 - JSON
        """Apply an operation of NodeModel, or "snapshot"; OperationRefused as the hardware says."""
        return call(NodeFolder(self.folder).control, operation, arguments)


def up(
    profile: NodeProfile | str,
    *,
    name: str,
    mount_namespace: Path | None = None,
    files: FilesAs = "auto",
    progress: Progress = lambda _line: None,
) -> RunningNode:
    """Boot a node and return when its faces answer.

    `profile` is a NodeProfile or the name of one; `mount_namespace` (root only) is a `/proc/PID/ns/mnt` or a
    bind mount of one, to which the node's files are attached. `files` is "fuse" for files whose writes act,
    "plain" for such as only show, "auto" for the first where this process may mount it. NodeExists, ProfileError,
    MountRefused and BootFailed leave nothing behind.
    """
    if isinstance(profile, str):
        find_node_profile(profile)
    folder = NodeFolder.of(name)
    if mount_namespace is not None and os.geteuid() != 0:
        raise MountRefused(
            "attaching to a mount namespace needs root; without --mount-namespace a node needs none"
        )
    why_plain = _why_plain(files)
    lock = NodeLock.take(folder)
    try:
        _clear(folder)
        folder.path.mkdir(mode=0o755)
        with _started(folder, lock) as starting:  # it loads its modules while the profile is read
            profile = load_node_profile(profile) if isinstance(profile, str) else profile
            progress(f"booting node {name} ({profile.title})")
            _prepare(folder, profile, mount_namespace, why_plain)
            return starting.ready()
    except BaseException:
        _clear(folder)
        folder.lock.unlink(missing_ok=True)
        raise
    finally:
        lock.close()


def load(name: str) -> RunningNode:
    """Return a node that is up; NodeNotFound lists those that are."""
    folder = NodeFolder.of(name)
    if holder(folder) is not None and (node := _recorded(folder)) is not None:
        return node
    names = ", ".join(node.name for node in list_nodes()) or "none"
    raise NodeNotFound(f"node {name!r} is not up (up: {names}); `claimwright node up` boots one")


def chosen(name: str | None) -> RunningNode:
    """Return the named node, or the only one that is up."""
    if name is not None:
        return load(name)
    found = list_nodes()
    if len(found) == 1:
        return found[0]
    if not found:
        raise NodeNotFound("no node is up; `claimwright node up` boots one")
    raise NodeError(f"several nodes are up, name one of {', '.join(each.name for each in found)}")


def list_nodes() -> list[RunningNode]:
    """Return all nodes that are up, by name."""
    folders = (NodeFolder(lock.with_suffix("")) for lock in sorted(nodes_folder().glob("*.lock")))
    alive = (_recorded(folder) for folder in folders if holder(folder) is not None)
    return [node for node in alive if node is not None]


def known_names() -> list[str]:
    """Return the names of all nodes that left anything, up or not: what `down --all` clears."""
    found = nodes_folder()
    names = {path.name.removesuffix(".lock") for path in found.glob("*")} if found.is_dir() else set()
    return sorted(names)


def down(name: str) -> None:
    """Stop a node and remove what it made; NodeNotFound when there is nothing of that name."""
    folder = NodeFolder.of(name)
    if holder(folder) is None and not folder.path.exists() and not folder.lock.exists():
        known = ", ".join(known_names()) or "none"
        raise NodeNotFound(f"there is no node {name!r}; known: {known}")
    _stop_holder(folder)
    lock = NodeLock.take(folder)
    try:
        _clear(folder)
    finally:
        lock.release(folder)


def _prepare(
    folder: NodeFolder, profile: NodeProfile, mount_namespace: Path | None, why_plain: str | None
) -> None:
    """Make the driver root and the request, which the node process has no need to import the makers of."""
    try:
        state = _built(folder.name, profile, attached=mount_namespace is not None)
        compose(folder.driver_root, profile.driver_version)
    except (ProfileError, NotCompiled) as error:
        raise BootFailed(str(error)) from error
    request = Request(state, mount_namespace, why_plain)
    write_atomically(folder.request, request.packed(), mode=0o600, durable=False)


def _built(name: str, profile: NodeProfile, *, attached: bool) -> NodeState:
    """Build the node; where it joins a machine, around the processors and IOMMU groups that are there."""
    boot = str(uuid.uuid4())
    if not attached:
        return build_node(profile, name, boot=boot)
    group, cpus = machine.first_free_iommu_group(), machine.online_cpus()
    return build_node(profile, name, boot=boot, first_iommu_group=group, machine_cpus=cpus)


def _why_plain(files: FilesAs) -> str | None:
    """Say why the files can only show; None when they can act. MountRefused when they must act, and cannot."""
    if files == "plain":
        return "plain files were asked for"
    why = usable()
    if files == "fuse" and why:
        raise MountRefused(f"{why}; without --files fuse a node shows its files, and writes do nothing")
    return why


@dataclass(frozen=True, slots=True)
class _Starting:
    """A node process that waits for its request to be written."""

    folder: NodeFolder
    process: subprocess.Popen[bytes]
    answers: int

    def ready(self) -> RunningNode:
        """Let it read its request, and return the node when it says that it is ready."""
        assert self.process.stdin is not None
        with contextlib.suppress(BrokenPipeError):  # it has ended: its answer, or its log, says why
            self.process.stdin.write(b"\n")
            self.process.stdin.close()
        answer = _read_all(self.answers, time.monotonic() + _BOOT_SECONDS)
        node = _recorded(self.folder) if answer == b"ready\n" else None
        if node is None:
            _kill(self.process)
            raise _boot_error(self.folder, answer, self.process.returncode)
        self.process.returncode = (
            0  # it lives on without us: say so to Popen, or it warns when it is collected
        )
        return node


@contextmanager
def _started(folder: NodeFolder, lock: NodeLock) -> Iterator[_Starting]:
    """Start the node process; whatever goes wrong in the block, it is gone before the error is raised."""
    answers, answer = os.pipe()
    try:
        with folder.log.open("wb") as log:
            process = subprocess.Popen(
                [*module_command("claimwright.emulator.process"), folder.path, str(lock.handle), str(answer)],
                pass_fds=(lock.handle, answer),
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                start_new_session=True,
                cwd="/",
                env=environment(),
                bufsize=0,
            )
        os.close(answer)
        lock.write_pid(process.pid)
        try:
            yield _Starting(folder, process, answers)
        except BaseException:
            _kill(process)
            raise
    finally:
        os.close(answers)


def _read_all(handle: int, deadline: float) -> bytes:
    answer = b""
    while (left := deadline - time.monotonic()) > 0 and not answer.endswith(b"\n"):
        if select.select([handle], [], [], left)[0]:
            chunk = os.read(handle, 65536)
            if not chunk:
                break
            answer += chunk
    return answer


def _kill(process: subprocess.Popen[bytes]) -> None:
    if process.stdin is not None:
        process.stdin.close()
    process.kill()
    process.wait(timeout=_STOP_SECONDS)


def _boot_error(folder: NodeFolder, answer: bytes, code: int) -> NodeError:
    if answer:
        said = json.loads(answer)
        kind = MountRefused if said["kind"] == MountRefused.__name__ else BootFailed
        return kind(said["message"])
    tail = folder.log.read_text(errors="replace").strip().splitlines()[-12:]
    return BootFailed(
        f"node {folder.name!r} ended (status {code}) or was not ready in {_BOOT_SECONDS:.0f} s; it said:\n"
        + "\n".join(f"  {line}" for line in tail)
    )


def _recorded(folder: NodeFolder) -> RunningNode | None:
    try:
        said: Mapping[str, Any] = json.loads(folder.record.read_text())
    except (FileNotFoundError, NotADirectoryError):
        return None
    namespace = said["mount_namespace"]
    return RunningNode(
        name=folder.name,
        folder=folder.path,
        profile=said["profile"],
        driver_root=folder.driver_root,
        host_root=folder.host_root if namespace is None else Path("/"),
        pid=said["pid"],
        title=said["title"],
        mount_namespace=None if namespace is None else Path(namespace),
        why_files_only_show=said["why_files_only_show"],
    )


def _stop_holder(folder: NodeFolder) -> None:
    """End the process that holds the lock: by SIGTERM, then SIGKILL. A reused pid is never signalled."""
    deadline = time.monotonic() + _STOP_SECONDS
    while (pid := holder(folder)) is not None:
        if time.monotonic() > deadline:
            raise NodeError(f"node {folder.name!r} is held by process {pid or 'unknown'}, which does not end")
        if pid == 0 or not _end(folder, pid):
            time.sleep(0.01)  # started a moment ago: it has not written its pid yet, or has just ended


def _end(folder: NodeFolder, pid: int) -> bool:
    """Signal the holder through a pidfd opened while it held the lock; True when it is gone."""
    try:
        handle = os.pidfd_open(pid)
    except ProcessLookupError:
        return False
    try:
        return holder(folder) == pid and any(
            _signal(handle, kind) for kind in (signal.SIGTERM, signal.SIGKILL)
        )
    finally:
        os.close(handle)
        with contextlib.suppress(ChildProcessError):
            os.waitpid(pid, os.WNOHANG)  # where `up` ran in this very process


def _signal(handle: int, kind: signal.Signals) -> bool:
    """Send a signal and wait for the end; True when the process ended."""
    try:
        signal.pidfd_send_signal(handle, kind)
    except ProcessLookupError:
        return True
    return bool(select.select([handle], [], [], _STOP_SECONDS)[0])


def _clear(folder: NodeFolder) -> None:
    """Undo mounts that a killed node left, then remove its folder."""
    if (attachment := Attachment.read(folder.mounts)) is not None:
        detach(attachment)
    if folder.path.exists():
        unmount_leftovers(folder.path)
    shutil.rmtree(folder.path, ignore_errors=True)
    if folder.path.exists():
        raise NodeError(f"{folder.path} cannot be removed; is it owned by another user?")
