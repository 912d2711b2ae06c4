"""Images composed from files."""

from __future__ import annotations

import hashlib
import io
import json
import shutil
import subprocess
import tarfile
from pathlib import Path

import pytest

from claimwright.cluster import (
    ImageFile,
    ImageLink,
    ImageSpec,
    ImageText,
    compose_image,
    errors,
    program_files,
)
from claimwright.cluster.images.elf import interpreter, shared_objects
from claimwright.cluster.local.images import pause_tar


def spec(tmp_path: Path) -> ImageSpec:
    (tmp_path / "tool").write_text("tool")
    entries = {
        "/usr/bin/tool": ImageFile(tmp_path / "tool", 0o755),
        "/bin": ImageLink("usr/bin"),
        "/etc/x": ImageText("x"),
    }
    return ImageSpec("local.test/tool:1", entries, ["/bin/tool"], {"A": "b"})


def blobs(tar: Path) -> dict[str, bytes]:
    with tarfile.open(tar) as archive:
        return {name: archive.extractfile(name).read() for name in archive.getnames()}


def test_the_same_files_give_the_same_bytes(tmp_path):
    wanted = spec(tmp_path)
    first = compose_image(wanted, tmp_path / "1.tar").read_bytes()
    (tmp_path / "tool").touch()
    assert compose_image(wanted, tmp_path / "2.tar").read_bytes() == first


def test_every_blob_is_named_by_its_digest_and_the_index_leads_to_all(tmp_path):
    content = blobs(compose_image(spec(tmp_path), tmp_path / "i.tar"))
    for name, blob in content.items():
        if name.startswith("blobs/"):
            assert hashlib.sha256(blob).hexdigest() == name.rsplit("/", 1)[1]
    index = json.loads(content["index.json"])["manifests"][0]
    manifest = json.loads(content[f"blobs/sha256/{index['digest'].removeprefix('sha256:')}"])
    config = json.loads(content[f"blobs/sha256/{manifest['config']['digest'].removeprefix('sha256:')}"])
    assert index["annotations"]["io.containerd.image.name"] == "local.test/tool:1"
    assert config["config"] == {"Entrypoint": ["/bin/tool"], "Env": ["A=b"], "WorkingDir": "/"}


def test_the_layer_holds_folders_before_files_and_nothing_of_the_host(tmp_path):
    content = blobs(compose_image(spec(tmp_path), tmp_path / "i.tar"))
    layer = next(blob for name, blob in content.items() if name.startswith("blobs/") and blob[:1] not in b"{")
    with tarfile.open(fileobj=io.BytesIO(layer)) as archive:
        members = {member.name: member for member in archive.getmembers()}
    names = list(members)
    assert names.index("usr/bin") < names.index("usr/bin/tool")
    assert members["bin"].linkname == "usr/bin"
    assert {(member.uid, member.gid, member.mtime) for member in members.values()} == {(0, 0, 0)}
    assert members["tmp"].mode == 0o1777


@pytest.mark.parametrize("path", ["relative", "/", "/../etc/passwd", "/a/../../b"])
def test_a_path_that_leaves_the_image_is_refused(tmp_path, path):
    with pytest.raises(errors.InvalidRequest, match="image path"):
        compose_image(ImageSpec("r", {path: ImageText("x")}, ["/x"]), tmp_path / "i.tar")


def test_a_missing_file_is_named_and_no_tar_is_left(tmp_path):
    with pytest.raises(errors.InvalidRequest, match="missing"):
        compose_image(ImageSpec("r", {"/x": ImageFile(tmp_path / "missing")}, ["/x"]), tmp_path / "i.tar")
    assert list(tmp_path.iterdir()) == []


def test_a_programs_closure_runs_on_its_own(tmp_path):
    program = Path(shutil.which("cat") or "cat").resolve()
    files = program_files(program)
    loader = interpreter(program)
    assert loader is not None
    assert str(loader) in files
    assert any("libc.so" in path for path in files)


def test_a_static_program_needs_nothing_else(tmp_path):
    compiler = shutil.which("gcc")
    if compiler is None:
        pytest.skip("gcc is not there to make a static program")
    (tmp_path / "a.c").write_text("int main(void) { return 0; }")
    subprocess.run([compiler, "-static", "-o", tmp_path / "a", tmp_path / "a.c"], check=True, timeout=60)
    assert list(program_files(tmp_path / "a")) == [str(tmp_path / "a")]


def test_a_script_is_no_program_for_a_closure(tmp_path):
    (tmp_path / "s").write_text("#!/bin/sh\n" + "#" * 100)
    with pytest.raises(errors.InvalidRequest, match="ELF"):
        shared_objects(tmp_path / "s", interpreter(tmp_path / "s"))


def test_the_pause_image_is_made_once(tmp_path):
    if shutil.which("gcc") is None:
        pytest.skip("gcc is not there to compile it")
    first = pause_tar(tmp_path)
    made = first.stat().st_mtime_ns
    assert pause_tar(tmp_path).stat().st_mtime_ns == made


def test_without_a_compiler_the_missing_package_is_named(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(errors.MissingTool, match="gcc"):
        pause_tar(tmp_path / "cache")
    assert list((tmp_path / "cache" / "images").iterdir()) == []
