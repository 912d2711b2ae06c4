"""The image composed without an engine: what is in it, that it starts, that it is the same every time."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import os
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path, PurePosixPath

import pytest
from click.testing import CliRunner

from claimwright.driver.commands import driver
from claimwright.driver.errors import NodeUnusable
from claimwright.driver.image import REFERENCE, bytecode, write_tree
from claimwright.driver.image.composition import SETTINGS, extras, settings_as_dockerfile
from claimwright.driver.image.oci_layout import write_layout
from claimwright.driver.image.python_environment import PACKAGES, PREFIX, Python, own, third_party
from claimwright.driver.image.shared_objects import interpreter
from claimwright.driver.image.tree import Content, Link, Tree

DOCKERFILE = Path(__file__).parents[1] / "Dockerfile"


def tree(text: str = "hello") -> Tree:
    return {
        PurePosixPath("/opt/b/file"): Content(data=text.encode(), mode=0o755),
        PurePosixPath("/opt/a"): Link("b/file"),
    }


def members(tar: Path) -> dict[str, bytes]:
    with tarfile.open(tar) as archive:
        return {name: archive.extractfile(name).read() for name in archive.getnames()}  # type: ignore[union-attr]


def test_a_layout_names_every_blob_by_what_it_holds(tmp_path: Path) -> None:
    write_layout(tmp_path / "image.tar", [tree()], SETTINGS)

    found = members(tmp_path / "image.tar")
    index = json.loads(found["index.json"])
    manifest = json.loads(found[f"blobs/sha256/{index['manifests'][0]['digest'][7:]}"])
    config = json.loads(found[f"blobs/sha256/{manifest['config']['digest'][7:]}"])
    (layer,) = (found[f"blobs/sha256/{each['digest'][7:]}"] for each in manifest["layers"])

    for name, blob in found.items():
        if name.startswith("blobs/"):
            assert name.endswith(hashlib.sha256(blob).hexdigest())
    assert index["manifests"][0]["annotations"]["io.containerd.image.name"] == REFERENCE
    assert config["rootfs"]["diff_ids"] == [f"sha256:{hashlib.sha256(gzip.decompress(layer)).hexdigest()}"]
    with tarfile.open(fileobj=io.BytesIO(gzip.decompress(layer))) as archive:
        assert [(each.name, each.mode, each.uid, each.mtime) for each in archive.getmembers()] == [
            ("opt", 0o755, 0, 0), ("opt/b", 0o755, 0, 0), ("opt/a", 0o777, 0, 0), ("opt/b/file", 0o755, 0, 0),
        ]  # fmt: skip


def test_the_same_trees_give_the_same_bytes_and_others_do_not(tmp_path: Path) -> None:
    for name, text in (("one", "a"), ("two", "a"), ("three", "b")):
        write_layout(tmp_path / name, [tree(text)], SETTINGS)

    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()
    assert (tmp_path / "one").read_bytes() != (tmp_path / "three").read_bytes()


def test_a_layout_that_fails_leaves_nothing(tmp_path: Path) -> None:
    missing = {PurePosixPath("/file"): Content(tmp_path / "nowhere")}

    with pytest.raises(FileNotFoundError):
        write_layout(tmp_path / "image.tar", [missing], SETTINGS)

    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_compiled_modules_are_the_same_every_time(tmp_path: Path) -> None:
    rooms = own()
    compiled = []
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        found = bytecode.compiled(rooms, tmp_path / name)
        compiled.append({path: entry.read() for path, entry in found.items()})

    assert compiled[0] == compiled[1]
    assert len(compiled[0]) == len([path for path in rooms if path.suffix == ".py"])


def test_the_driver_and_what_it_needs_are_in_and_nothing_else_of_this_project() -> None:
    rooms = {
        path.relative_to(PACKAGES).parts[1] for path in own() if path.is_relative_to(PACKAGES / "claimwright")
    }
    packages = {path.relative_to(PACKAGES).parts[0] for path in third_party()}

    assert rooms == {"cli", "dra", "driver"}
    assert {"grpc", "google", "urllib3", "yaml", "pydantic", "pydantic_core", "prometheus_client"} <= packages
    assert not {"kubernetes", "pytest", "hypothesis", "packaging"} & packages
    assert any(path.name == "entry_points.txt" for path in own()), "the commands are found by entry points"


def test_every_package_comes_with_its_licence() -> None:
    infos: dict[str, set[str]] = {}
    for path in third_party():
        if (folder := path.relative_to(PACKAGES).parts[0]).endswith(".dist-info"):
            infos.setdefault(folder, set()).add(path.name)

    assert all("METADATA" in names for names in infos.values())


def test_a_file_that_is_no_program_is_named(tmp_path: Path) -> None:
    (tmp_path / "script").write_text("#!/bin/sh\n")

    with pytest.raises(NodeUnusable, match="script is no 64-bit"):
        interpreter(tmp_path / "script")


def test_the_interpreter_of_the_image_is_the_one_behind_this_environment() -> None:
    python = Python.here()

    assert python.program.name.startswith("python")
    assert "site-packages" not in {part for path in python.files() for part in path.parts}


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ([], "--output FILE"),
        (["--output", "a.tar", "--tree", "b"], "--output FILE"),
        (["--output", "/nowhere/driver.tar"], "no folder '/nowhere'"),
    ],
)
def test_what_cannot_be_written_is_said_before_anything_is_done(words: list[str], says: str) -> None:
    ended = CliRunner().invoke(driver, ["image", *words])

    assert ended.exit_code != 0
    assert says in ended.output


def test_a_folder_with_something_in_it_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "mine").touch()

    with pytest.raises(NodeUnusable, match="is not empty"):
        write_tree(tmp_path)


def test_the_dockerfile_says_the_same_as_the_composed_image() -> None:
    lines = DOCKERFILE.read_text().splitlines()

    assert [line for line in settings_as_dockerfile() if line not in lines] == []
    root = DOCKERFILE.parents[1]
    copied = [line.split()[1:-1] for line in lines if line.startswith("COPY ") and "--from" not in line]
    assert all((root / name).exists() for names in copied for name in names)


@pytest.mark.e2e
@pytest.mark.skipif(os.geteuid() != 0, reason="chroot needs root")
def test_programs_of_the_host_run_in_its_root(tmp_path: Path) -> None:
    script = extras(Python.here())[PREFIX / "bin" / "chroot"]
    assert isinstance(script, Content)
    (tmp_path / "chroot").write_bytes(script.read())

    said = subprocess.run(
        [sys.executable, str(tmp_path / "chroot"), "/", "sh", "-c", "pwd"],
        cwd=tmp_path, capture_output=True, text=True,
        timeout=30, check=True,
    )  # fmt: skip

    assert said.stdout.split() == ["/"]


@pytest.mark.e2e
@pytest.mark.skipif(os.geteuid() != 0, reason="entering the image's file system needs root (chroot)")
def test_the_image_needs_nothing_of_this_machine(tmp_path: Path) -> None:
    write_tree(tmp_path / "root")

    environment = dict(pair.split("=", 1) for pair in SETTINGS["Env"])
    code = "import claimwright.driver.gpu_plugin as plugin, grpc, sys; print(plugin.__file__, sys.prefix)"
    said = [
        subprocess.run(
            [shutil.which("chroot") or "chroot", str(tmp_path / "root"), *words],
            env=environment, capture_output=True, text=True, timeout=60, check=True,
        ).stdout
        for words in (["/usr/local/bin/claimwright", "driver", "--help"], ["/usr/local/bin/python3", "-c", code])
    ]  # fmt: skip

    assert "gpu-plugin" in said[0]
    assert said[1].split() == [f"{PACKAGES}/claimwright/driver/gpu_plugin.py", "/usr/local"]
    assert not [path for path in (tmp_path / "root").rglob("*.py") if "test" in path.parts]
