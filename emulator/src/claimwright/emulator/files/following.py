"""Keep a node's files true: render once, then follow the model and touch only what a change changes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from claimwright.emulator.files import dev, faces, fuse, mounts
from claimwright.emulator.files.hosting import HostFiles, told
from claimwright.emulator.files.majors import Majors
from claimwright.emulator.files.plain import PlainTree
from claimwright.emulator.model import NodeModel, NodeState


@contextmanager
def serve_files(model: NodeModel, host_root: Path, driver_root: Path, *, acting: bool) -> Iterator[None]:
    """Serve everything in `host_root`, and device nodes (as plain files) in the driver root.

    With `acting` the host root is a FUSE mount, whose writes act; without it plain files, which only show.
    """
    if not acting:
        with render_files(model, host_root, driver_root):
            yield
        return
    for folder in (host_root, driver_root):
        folder.mkdir(parents=True, exist_ok=True)
    majors, driver = Majors(), PlainTree(driver_root)
    files = HostFiles(model, faces.standing_alone(majors))
    label = f"claimwright-{model.snapshot().name}"

    def show(state: NodeState) -> None:
        driver.show(dev.nodes(state, majors))

    with fuse.mounted(files, host_root, label), _following(model, show):
        yield


@contextmanager
def render_files(model: NodeModel, host_root: Path, driver_root: Path) -> Iterator[None]:
    """Serve plain trees: everything in `host_root`, and device nodes (as plain files) in the driver root."""
    for folder in (host_root, driver_root):
        folder.mkdir(parents=True, exist_ok=True)
    host, driver = PlainTree(host_root), PlainTree(driver_root)
    majors = Majors()

    def show(state: NodeState) -> None:
        host.show(faces.host_root(state, majors))
        driver.show(dev.nodes(state, majors))

    with _following(model, show):
        yield


@contextmanager
def attach_files(model: NodeModel, namespace: Path, record: Path) -> Iterator[None]:
    """Serve real mounts and device nodes inside a mount namespace, and undo them at the end."""
    majors = mounts.machine_majors()
    state = model.snapshot()
    attached = mounts.attach(
        f"claimwright-{state.name}",
        faces.additions(state, majors),
        dev.nodes(state, majors),
        mounts.machine_listing(majors, nvswitch=bool(state.nvswitches)),
        namespace=namespace,
        record=record,
    )
    try:
        with _following(
            model, lambda state: attached.show(faces.additions(state, majors) | dev.nodes(state, majors))
        ):
            yield
    finally:
        attached.close()
        mounts.detach(attached.attachment)


@contextmanager
def _following(model: NodeModel, show: Callable[[NodeState], None]) -> Iterator[None]:
    shown: object = None

    def follow(state: NodeState) -> None:
        nonlocal shown
        if (facts := told(state)) != shown:
            show(state)
            shown = facts

    unsubscribe = model.subscribe(follow)
    try:
        yield
    finally:
        unsubscribe()
