from __future__ import annotations

import json
from dataclasses import replace

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from claimwright.dra.cdi import (
    CdiDevice,
    CdiError,
    CdiSpec,
    ContainerEdits,
    DeviceNode,
    Hook,
    IntelRdt,
    InvalidSpec,
    MalformedSpec,
    Mount,
    NetDevice,
    UnresolvableDevice,
    load_spec,
    load_specs,
    minimum_version,
    remove_spec,
    spec_from_object,
    spec_to_object,
    write_spec,
)

EDITS = ContainerEdits(
    env=("A=1",),
    device_nodes=(DeviceNode("/dev/nvidia0", "/host/dev/nvidia0", "c", 195, 0, 0o666, "rw", 0, 0),),
    mounts=(Mount("/host/lib", "/lib/x", ("ro", "bind"), "bind"),),
    hooks=(Hook("createContainer", "/hook", ("hook", "x"), ("E=1",), 5),),
    additional_gids=(44,),
    net_devices=(NetDevice("eth1", "net1"),),
    intel_rdt=IntelRdt("gold", schemata=("L3:0=f",)),
)
SPEC = CdiSpec(
    "example.com/gpu", (CdiDevice("0", EDITS, {"a": "b"}),), ContainerEdits(env=("ALL=1",)), {"c": "d"}
)


def simple(kind="example.com/gpu", name="gpu0", **edits):
    return CdiSpec(kind, (CdiDevice(name, ContainerEdits(**(edits or {"env": ("A=1",)}))),))


@pytest.mark.parametrize("form", ["json", "yaml"])
def test_a_spec_reads_back_from_its_file(tmp_path, form):
    path = write_spec(tmp_path, SPEC, transient_id="claim-1", format=form)
    assert path.name == f"example.com-gpu_claim-1.{form}"
    assert load_spec(path) == replace(SPEC, version="1.1.0")


@pytest.mark.parametrize(
    ("spec", "version"),
    [
        (simple(), "0.3.0"),
        (simple(mounts=(Mount("/a", "/b", type="bind"),)), "0.4.0"),
        (simple(name="0gpu"), "0.5.0"),
        (simple(device_nodes=(DeviceNode("/dev/a", host_path="/dev/b"),)), "0.5.0"),
        (simple(kind="example.com/gpu.full"), "0.6.0"),
        (replace(simple(), annotations={"a": "b"}), "0.6.0"),
        (simple(additional_gids=(1,)), "0.7.0"),
        (simple(intel_rdt=IntelRdt("x")), "0.7.0"),
        (simple(net_devices=(NetDevice("a", "b"),)), "1.1.0"),
        (simple(intel_rdt=IntelRdt("x", enable_monitoring=True)), "1.1.0"),
    ],
)
def test_the_version_is_the_lowest_that_covers_the_fields(spec, version):
    assert minimum_version(spec) == version
    assert spec_to_object(spec)["cdiVersion"] == version


@pytest.mark.parametrize(
    ("spec", "complaint"),
    [
        (CdiSpec("example.com/gpu"), "devices is empty"),
        (CdiSpec("gpu", simple().devices), "kind is 'gpu'"),
        (CdiSpec("example.com/gpu", simple().devices * 2), "defined twice"),
        (simple(name="a/b"), "device name 'a/b'"),
        (CdiSpec("example.com/gpu", (CdiDevice("a"),)), "empty containerEdits"),
        (simple(env=("NOVALUE",)), "NAME=VALUE"),
        (simple(device_nodes=(DeviceNode("/dev/a", permissions="rx"),)), "permissions 'rx'"),
        (simple(device_nodes=(DeviceNode("/dev/a", type="x"),)), "type 'x'"),
        (simple(mounts=(Mount("", "/b"),)), "both paths"),
        (replace(simple(name="0"), version="0.3.0"), "need 0.5.0"),
        (replace(simple(), version="9.9"), "cdiVersion is '9.9'"),
    ],
)
def test_an_invalid_spec_is_refused_and_leaves_no_file(tmp_path, spec, complaint):
    with pytest.raises(InvalidSpec, match=complaint):
        write_spec(tmp_path, spec)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"surprise": 1}, "surprise"),
        ({"devices": {}}, "devices"),
        ({"devices": [{"name": "a", "containerEdits": {"env": "A=1"}}]}, r"devices\[0\].containerEdits.env"),
        ({"devices": [{"name": "a", "containerEdits": {"mounts": [{"hostPath": "/x"}]}}]}, r"mounts\[0\]"),
        (
            {"containerEdits": {"hooks": [{"hookName": "later", "path": "/x"}]}},
            r"hooks\[0\].hookName is 'later'",
        ),
        (
            {"containerEdits": {"deviceNodes": [{"path": "/x", "major": "195"}]}},
            r"deviceNodes\[0\].major is '195'",
        ),
    ],
)
def test_a_malformed_document_is_refused_by_field(change, field):
    document = {**spec_to_object(SPEC), **change}
    with pytest.raises(MalformedSpec, match=field):
        spec_from_object(document)


def test_the_edits_of_a_spec_come_once_and_before_those_of_its_devices(tmp_path):
    devices = tuple(
        CdiDevice(name, ContainerEdits(env=(f"DEVICE={name}", f"{name}=1"))) for name in ("a", "b")
    )
    write_spec(tmp_path, CdiSpec("example.com/gpu", devices, ContainerEdits(env=("ALL=1", "DEVICE=none"))))

    edits = load_specs([tmp_path]).resolve(["example.com/gpu=a", "example.com/gpu=b"])

    assert edits.env == ("ALL=1", "a=1", "DEVICE=b", "b=1")


def test_a_later_folder_wins(tmp_path):
    for folder in ("etc", "run"):
        write_spec(tmp_path / folder, simple(env=(f"FROM={folder}",)))
    edits = load_specs([tmp_path / "etc", tmp_path / "run"]).resolve(["example.com/gpu=gpu0"])
    assert edits.env == ("FROM=run",)


def test_a_device_of_two_files_of_one_folder_is_a_conflict(tmp_path):
    write_spec(tmp_path, simple(), transient_id="a")
    write_spec(tmp_path, simple(), transient_id="b")
    with pytest.raises(UnresolvableDevice, match=r"example.com/gpu=gpu0 is defined by several files"):
        load_specs([tmp_path]).resolve(["example.com/gpu=gpu0"])


def test_every_id_that_nobody_defines_is_named(tmp_path):
    (tmp_path / "broken.json").write_text("{")
    write_spec(tmp_path, simple())
    with pytest.raises(
        UnresolvableDevice, match=r"example.com/gpu=x, other.com/y=z; broken specs: .*broken.json"
    ) as caught:
        load_specs([tmp_path, tmp_path / "missing"]).resolve(
            ["example.com/gpu=x", "example.com/gpu=gpu0", "other.com/y=z"]
        )
    assert caught.value.ids == ("example.com/gpu=x", "other.com/y=z")


def test_removing_a_spec_twice_is_fine(tmp_path):
    write_spec(tmp_path, simple(), transient_id="c", format="json")
    for _ in range(2):
        remove_spec(tmp_path, "example.com/gpu", transient_id="c")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("transient_id", ["../../etc/passwd", "", "a/b", ".hidden"])
def test_an_id_never_leads_out_of_the_folder(tmp_path, transient_id):
    with pytest.raises(CdiError, match="transient id"):
        write_spec(tmp_path, simple(), transient_id=transient_id)


def test_the_document_has_the_fields_of_the_specification(tmp_path):
    document = yaml.safe_load(write_spec(tmp_path, SPEC).read_text())
    assert json.loads(json.dumps(document))["devices"][0]["containerEdits"] == {
        "env": ["A=1"],
        "deviceNodes": [
            {
                "path": "/dev/nvidia0",
                "hostPath": "/host/dev/nvidia0",
                "type": "c",
                "major": 195,
                "minor": 0,
                "fileMode": 0o666,
                "permissions": "rw",
                "uid": 0,
                "gid": 0,
            }
        ],
        "netDevices": [{"hostInterfaceName": "eth1", "name": "net1"}],
        "mounts": [
            {"hostPath": "/host/lib", "containerPath": "/lib/x", "options": ["ro", "bind"], "type": "bind"}
        ],
        "hooks": [
            {
                "hookName": "createContainer",
                "path": "/hook",
                "args": ["hook", "x"],
                "env": ["E=1"],
                "timeout": 5,
            }
        ],
        "intelRdt": {"closID": "gold", "schemata": ["L3:0=f"]},
        "additionalGids": [44],
    }


NAMES = st.sampled_from("abcd")
ANY_EDITS = st.builds(
    ContainerEdits,
    env=st.lists(st.builds("{}={}".format, NAMES, st.integers(0, 9)), max_size=4).map(tuple),
    device_nodes=st.lists(st.builds(DeviceNode, NAMES), max_size=3).map(tuple),
    mounts=st.lists(st.builds(Mount, NAMES, NAMES), max_size=3).map(tuple),
    additional_gids=st.lists(st.integers(0, 3), max_size=3).map(tuple),
)


@given(ANY_EDITS, ANY_EDITS, ANY_EDITS)
def test_merging_is_associative(a, b, c):
    assert (a + b) + c == a + (b + c)


@given(ANY_EDITS, ANY_EDITS)
def test_a_merge_names_each_target_once_and_the_last_one_wins(a, b):
    merged = a + b
    names = [item.partition("=")[0] for item in merged.env]
    assert len(names) == len(set(names))
    wanted = dict(item.split("=") for item in (*a.env, *b.env))
    assert dict(item.split("=") for item in merged.env) == wanted
    assert {item.container_path: item.host_path for item in merged.mounts} == {
        item.container_path: item.host_path for item in (*a.mounts, *b.mounts)
    }


@given(ANY_EDITS)
def test_merging_nothing_changes_nothing_twice(edits):
    once = edits + ContainerEdits()
    assert once + ContainerEdits() == once
    assert once + once == once
