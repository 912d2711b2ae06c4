from __future__ import annotations

import json
from dataclasses import replace

import pytest

from claimwright.dra import metadata
from claimwright.dra.metadata import DeviceEntry, DeviceMetadata, MalformedMetadata, RequestEntry
from claimwright.dra.prepared import NetworkData
from claimwright.dra.slices import Version

CONTENT = DeviceMetadata(
    namespace="default",
    name="claim",
    uid="u",
    pod_claim_name="gpus",
    requests=(
        RequestEntry(
            "gpu/big",
            (
                DeviceEntry(
                    "gpu.example.com",
                    "node",
                    "gpu-0",
                    {
                        "resource.kubernetes.io/pciBusID": "0000:01:00.0",
                        "v": Version("1.2.3"),
                        "n": 3,
                        "l": (1, 2),
                    },
                    NetworkData("eth0", ("10.0.0.1/24",), "00:11"),
                ),
            ),
        ),
    ),
)


def test_metadata_reads_back_as_it_was_written():
    assert metadata.decode(metadata.encode(CONTENT)) == CONTENT


def test_versions_stand_side_by_side_newest_first_and_a_reader_takes_what_it_knows():
    text = metadata.encode(CONTENT, versions=("v1beta1", "v1alpha1"))
    assert text.index("v1beta1") < text.index("v1alpha1")
    assert metadata.decode(text) == CONTENT
    assert metadata.decode(text, known=("v1beta1",)) == CONTENT
    with pytest.raises(MalformedMetadata, match=r"expected one of metadata\.resource\.k8s\.io/v9"):
        metadata.decode(text, known=("v9",))


def test_an_unknown_newer_object_of_any_shape_is_skipped():
    newer = json.dumps({"apiVersion": "metadata.resource.k8s.io/v7", "shape": "new"})
    assert metadata.decode(newer + "\n\n" + metadata.encode(CONTENT)) == CONTENT


@pytest.mark.parametrize("text", ["{", "[]", "3", '{"apiVersion": "metadata.resource.k8s.io/v1alpha1"}', ""])
def test_a_broken_file_is_refused(text):
    with pytest.raises(MalformedMetadata):
        metadata.decode(text)


@pytest.mark.parametrize("name", ["x", "a-much-longer-name-than-before" * 3])
def test_a_rewrite_keeps_the_inode_and_counts_the_generation(tmp_path, name):
    path = tmp_path / "metadata.json"
    path.write_text(metadata.encode(CONTENT))
    inode = path.stat().st_ino

    metadata.rewrite(path, replace(CONTENT, name=name))

    assert path.stat().st_ino == inode
    found = metadata.read(path)
    assert (found.generation, found.name) == (2, name)


def test_a_file_that_was_never_written_cannot_be_rewritten(tmp_path):
    with pytest.raises(FileNotFoundError):
        metadata.rewrite(tmp_path / "metadata.json", CONTENT)


def test_the_path_in_the_container_depends_on_the_kind_of_claim():
    direct = metadata.container_path("d", "gpu", claim="c", pod_claim_name=None)
    template = metadata.container_path("d", "gpu", claim="c-xyz", pod_claim_name="gpus")
    root = "/var/run/kubernetes.io/dra-device-attributes"
    assert direct == f"{root}/resourceclaims/c/gpu/d-metadata.json"
    assert template == f"{root}/resourceclaimtemplates/gpus/gpu/d-metadata.json"
