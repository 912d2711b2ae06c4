"""Keep a node's files true: render once, then follow the model and touch only what a change changes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from claimwright.emulator.files import dev, faces, fuse, machine, mounts
from claimwright.emulator.files.fuse import FuseServer
from claimwright.emulator.files.hosting import HostFiles, told
from claimwright.emulator.files.majors import Majors
from claimwright.emulator.files.mount_jobs import AttachJob
from claimwright.emulator.files.parts import PartedTree, rendered
from claimwright.emulator.files.plain import PlainTree
from claimwright.emulator.files.tree import Tree
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
    tree = PartedTree(faces.standing_alone(majors))

    def show(state: NodeState) -> None:
        tree.follow(state)
        host.show(tree.entries)
        driver.show(dev.nodes(state, majors))

    with _following(model, show):
        yield


@contextmanager
def attach_files(model: NodeModel, namespace: Path, record: Path, *, acting: bool) -> Iterator[None]:
    """Serve real mounts and device nodes inside a mount namespace, and undo them at the end.

    With `acting` everything but device nodes is a FUSE mount, whose writes act; without it plain files.
    """
    majors, listings = machine.majors(), machine.listings()
    subjects = faces.added_to_a_machine(majors, listings)
    state = model.snapshot()
    job = AttachJob(
        namespace=str(namespace),
        label=f"claimwright-{state.name}",
        tree=rendered(subjects, state),
        devices=dev.nodes(state, majors),
        hidden=machine.hidden(),
        acting=acting,
    )
    with ExitStack() as stack:

        def connect(real: Tree) -> FuseServer:
            server = FuseServer(HostFiles(model, (*subjects, faces.unchanging(real))))
            stack.callback(server.close)
            return server

        attached = mounts.attach(job, record=record, connect=connect if acting else None)
        stack.callback(lambda: mounts.detach(attached.attachment))
        stack.callback(attached.close)

        def show(state: NodeState) -> None:
            files: Tree = {} if acting else rendered(subjects, state)
            attached.show(files | dev.nodes(state, majors))

        stack.enter_context(_following(model, show))
        yield


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
