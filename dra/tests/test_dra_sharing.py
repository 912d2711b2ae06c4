"""What a process keeps of its slices: one copy, and of equal values one object."""

from __future__ import annotations

import json
import subprocess
import sys

from claimwright.dra.metadata import DeviceEntry, DeviceMetadata, RequestEntry, encode
from claimwright.dra.plugin.store import SliceStore
from claimwright.dra.quantities import Quantity
from claimwright.dra.slices import CounterConsumption, Device, Pool, plan_slices, share_leaves


def pool(devices: int) -> Pool:
    counters = {f"memory-slice-{number}": Quantity.parse("1") for number in range(8)}
    return Pool(
        "node-a",
        tuple(
            Device(
                f"gpu-{number}",
                attributes={"type": "mig", "index": 1, "shared": True},
                consumes_counters=(CounterConsumption("set", counters),),
            )
            for number in range(devices)
        ),
        node_name="node-a",
    )


def stored(version: int, **metadata: object) -> dict[str, object]:
    (item,) = plan_slices("gpu.example.com", pool(4), 1)
    parsed = json.loads(json.dumps(item))
    parsed["metadata"] = {"name": "00000-a", "uid": "u", "resourceVersion": str(version), **metadata}
    return parsed


def leaves(item: object) -> set[int]:
    """Return the identities of all objects with one single value."""
    if isinstance(item, dict):
        found = {id(value) for value in item.values() if isinstance(value, dict) and len(value) == 1}
        return found.union(*(leaves(value) for value in item.values()))
    return set().union(*(leaves(value) for value in item)) if isinstance(item, list) else set()


def test_equal_values_of_planned_and_of_stored_slices_are_one_object_each() -> None:
    (planned,) = plan_slices("gpu.example.com", pool(64), 1)
    item = json.loads(json.dumps(planned))
    before = json.dumps(item)

    share_leaves(item)

    assert json.dumps(item) == before
    assert leaves(item["spec"]["devices"]) == leaves(planned["spec"]["devices"])
    assert len(leaves(item["spec"]["devices"])) == 4


def test_values_of_devices_that_are_given_to_claims_are_not_kept() -> None:
    def given(number: int) -> bytes:
        device = DeviceEntry("gpu.example.com", "node-a", "gpu-0", {"uuid": f"GPU-{number}"})
        request = RequestEntry("r0", (device,))
        return encode(DeviceMetadata("default", "a", "u", requests=(request,)))

    for number in range(100):
        given(number)
    before = sys.getallocatedblocks()
    for number in range(1000, 1500):
        given(number)

    assert sys.getallocatedblocks() - before < 100


def test_values_that_only_compare_equal_stay_apart() -> None:
    item = {
        "a": {"int": 1},
        "b": {"bool": True},
        "c": {"int": True},
        "d": {"string": "1"},
        "e": {"list": [1]},
    }

    share_leaves(item)

    assert json.dumps(item) == (
        '{"a": {"int": 1}, "b": {"bool": true}, "c": {"int": true}, "d": {"string": "1"}, "e": {"list": [1]}}'
    )


def test_the_answer_to_a_write_makes_room_for_what_the_watch_tells_of_it() -> None:
    store = SliceStore(relevant=lambda _item: True)
    answer, event = stored(7), stored(7)
    store.written(answer)

    assert not store.changed("ADDED", event), "it says nothing new"
    assert store.pools()["node-a"][0] is event


def test_what_the_watch_tells_late_changes_nothing() -> None:
    store = SliceStore(relevant=lambda _item: True)
    answer = stored(9)
    store.written(answer)

    assert not store.changed("MODIFIED", stored(8))
    assert store.pools()["node-a"][0] is answer
    assert store.changed("MODIFIED", stored(10))


def test_who_wrote_which_field_is_not_kept() -> None:
    store = SliceStore(relevant=lambda _item: True)
    store.changed("ADDED", stored(1, managedFields=[{"manager": "x"}]))

    assert "managedFields" not in store.pools()["node-a"][0]["metadata"]


def test_a_kubeconfig_of_json_needs_no_yaml(tmp_path) -> None:
    path = tmp_path / "kubeconfig"
    path.write_text(
        json.dumps(
            {
                "current-context": "c",
                "contexts": [{"name": "c", "context": {"cluster": "c", "user": "c"}}],
                "clusters": [{"name": "c", "cluster": {"server": "http://127.0.0.1:1"}}],
                "users": [{"name": "c", "user": {}}],
            }
        )
    )
    code = (
        "import pathlib, sys; from claimwright.dra.kube import Kube; "
        "print(Kube.from_kubeconfig(pathlib.Path(sys.argv[1])).server, 'yaml' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code, path], capture_output=True, text=True, check=True)

    assert done.stdout.split() == ["http://127.0.0.1:1", "False"]
