"""A rendered folder: equal to the tree after every change, and only what changed is touched."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from claimwright.emulator.files import CharDevice, Dir, File, Link, Tree, faces
from claimwright.emulator.files.following import render_files
from claimwright.emulator.files.plain import PlainTree
from claimwright.emulator.files.tree import folders, up_from
from claimwright.emulator.model import NodeModel, OperationRefused, build_node, load_node_profile
from claimwright.emulator.model.operations import bus, gpus


def seen(root: Path) -> Tree:
    """Read a folder back as a tree; empty folders and modes included."""
    found: Tree = {}
    for folder, names, files in os.walk(root):
        for name in [*names, *files]:
            path = Path(folder, name)
            key = os.fspath(path.relative_to(root))
            if path.is_symlink():
                found[key] = Link(os.fspath(path.readlink()))
            elif path.is_file():
                found[key] = File(path.read_bytes(), stat.S_IMODE(path.stat().st_mode))
            elif not any(path.iterdir()):
                found[key] = Dir(stat.S_IMODE(path.stat().st_mode))
    return found


def expected(tree: Tree) -> Tree:
    """What plain files show of a tree: device nodes are empty files, our own folders stay writable."""
    parents = folders(tree)
    shown: Tree = {}
    for path, entry in tree.items():
        if isinstance(entry, CharDevice):
            shown[path] = File(b"", entry.mode)
        elif isinstance(entry, File):
            shown[path] = File(entry.content, entry.mode)
        elif isinstance(entry, Link):
            shown[path] = entry
        elif path not in parents:
            shown[path] = Dir(entry.mode | stat.S_IWUSR)
    return shown


def test_a_node_renders_exactly_its_tree(tmp_path: Path) -> None:
    tree = faces.host_root(build_node(load_node_profile("l4x4"), "node-a"))

    PlainTree(tmp_path).show(tree)

    assert seen(tmp_path) == expected(tree)


def test_showing_the_same_tree_again_touches_nothing(tmp_path: Path) -> None:
    tree = faces.host_root(build_node(load_node_profile("l4"), "node-a"))
    plain = PlainTree(tmp_path)

    assert plain.show(tree) == len(tree)
    assert plain.show(dict(tree)) == 0


def test_a_changed_file_is_replaced_whole_and_others_keep_their_inode(tmp_path: Path) -> None:
    plain = PlainTree(tmp_path)
    plain.show({"a/one": File(b"1\n"), "a/two": File(b"2\n")})
    reader = (tmp_path / "a/one").open("rb")
    untouched = (tmp_path / "a/two").stat().st_ino

    with reader:
        plain.show({"a/one": File(b"changed\n"), "a/two": File(b"2\n")})

        assert reader.read() == b"1\n"
    assert (tmp_path / "a/one").read_bytes() == b"changed\n"
    assert (tmp_path / "a/two").stat().st_ino == untouched


entries = st.one_of(
    st.builds(File, st.binary(max_size=4), st.sampled_from([0o444, 0o644, 0o200])),
    st.builds(Link, st.sampled_from(["../x", "y"])),
    st.builds(Dir, st.sampled_from([0o755, 0o555])),
)
trees = st.dictionaries(st.sampled_from(["a", "b", "c/d", "c/e/f", "c/e/g", "h/i"]), entries)


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(trees, min_size=1, max_size=5))
def test_whatever_trees_follow_each_other_the_folder_shows_the_last(
    tmp_path_factory: pytest.TempPathFactory, shown: list[Tree]
) -> None:
    root = tmp_path_factory.mktemp("tree")
    plain = PlainTree(root)

    for tree in shown:
        plain.show(tree)

    assert seen(root) == expected(shown[-1])


changes = st.lists(
    st.tuples(
        st.sampled_from(["lose", "recover", "unbind", "bind", "start_process", "set_time_slice"]),
        st.integers(0, 3),
    ),
    max_size=12,
)


@pytest.mark.slow
@settings(deadline=None, max_examples=8, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(changes)
def test_files_agree_with_the_model_after_every_operation(
    tmp_path_factory: pytest.TempPathFactory, done: list[tuple[str, int]]
) -> None:
    root = tmp_path_factory.mktemp("node")
    model = NodeModel(build_node(load_node_profile("l4x4"), "node-a"))

    with render_files(model, root / "host", root / "driver"):
        for operation, gpu in done:
            apply(model, operation, gpu)
            host = expected(faces.host_root(model.snapshot()))
            assert seen(root / "host") == host
            assert set(seen(root / "driver")) == {path for path in host if path.startswith("dev/")}


def apply(model: NodeModel, operation: str, gpu: int) -> None:
    try:
        if operation == "unbind":
            model.perform(bus.unbind, str(model.snapshot().gpus[gpu].pci))
        elif operation == "bind":
            model.perform(bus.bind, str(model.snapshot().gpus[gpu].pci), "nvidia")
        elif operation == "start_process":
            model.perform(gpus.start_process, gpu, 1, "x", 1)
        elif operation == "set_time_slice":
            model.perform(gpus.set_time_slice, gpu, 1)
        else:
            model.perform(getattr(gpus, operation), gpu)
    except OperationRefused:
        pass


@pytest.mark.parametrize(
    ("folder", "target", "link"),
    [
        ("sys/bus/pci/devices", "sys/devices/pci0000:00/x", "../../../devices/pci0000:00/x"),
        ("sys/a", "sys/a/b", "b"),
        ("sys/a/b", "proc/c", "../../../proc/c"),
    ],
)
def test_relative_links_go_up_to_the_first_shared_folder(folder: str, target: str, link: str) -> None:
    assert up_from(folder, target) == link
