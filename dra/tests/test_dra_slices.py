from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from claimwright.dra.quantities import Quantity
from claimwright.dra.slices import (
    Capacity,
    CounterConsumption,
    CounterSet,
    Device,
    DeviceClass,
    InvalidSlice,
    MalformedSlice,
    NodeOwner,
    Pool,
    RequestPolicy,
    Slice,
    Taint,
    ValidRange,
    Version,
    differences,
    generate_name,
    index_of,
    keep_times_added,
    normal,
    plan_slices,
)

OWNER = NodeOwner("node-a", "node-uid")
TAINT = Taint("gpu.example.com/unhealthy", "NoSchedule", "true")
GPU = Device(
    "gpu-0",
    attributes={
        "uuid": "GPU-1",
        "driverVersion": Version("580.126.20"),
        "resource.kubernetes.io/numaNode": 0,
        "mig": False,
        "nodes": (1, 2),
        "versions": (Version("1.0.0"),),
    },
    capacity={
        "memory": Capacity(
            Quantity.parse("80Gi"),
            RequestPolicy(
                Quantity.parse("1Gi"),
                valid_range=ValidRange(Quantity.parse("1Gi"), Quantity.parse("80Gi"), Quantity.parse("1Gi")),
            ),
        ),
        "cores": Quantity.parse("132"),
    },
    taints=(TAINT,),
    consumes_counters=(CounterConsumption("set-0", {"memory": Quantity.parse("80Gi")}),),
    allow_multiple_allocations=True,
)


def devices_of(slices):
    return [device["name"] for item in slices for device in item["spec"].get("devices", [])]


@given(
    count=st.integers(0, 400),
    heavy=st.booleans(),
    sets=st.integers(0, 20),
    generation=st.integers(0, 2**40),
)
def test_a_plan_keeps_order_and_limits_whatever_the_size(count, heavy, sets, generation):
    devices = tuple(Device(f"gpu-{index}", taints=(TAINT,) if heavy else ()) for index in range(count))
    counters = tuple(CounterSet(f"set-{index}", {"memory": Quantity.parse("1Gi")}) for index in range(sets))
    pool = Pool("node-a", devices, counters)

    slices = plan_slices("gpu.example.com", pool, generation, OWNER)

    assert devices_of(slices) == [device.name for device in devices]
    assert all(len(item["spec"].get("devices", [])) <= (64 if heavy else 128) for item in slices)
    assert all(len(item["spec"].get("sharedCounters", [])) <= 8 for item in slices)
    assert not any("devices" in item["spec"] and "sharedCounters" in item["spec"] for item in slices)
    assert {item["spec"]["pool"]["resourceSliceCount"] for item in slices} == {len(slices)}
    assert [index_of(item["metadata"]["generateName"]) for item in slices] == list(range(len(slices)))
    assert plan_slices("gpu.example.com", pool, generation, OWNER) == slices


def test_a_device_is_read_back_as_it_was_written():
    (item,) = plan_slices("gpu.example.com", Pool("node-a", (GPU,)), 3, OWNER)
    item["metadata"]["name"] = "x"

    found = Slice.from_object(item)

    assert found.devices == (GPU,)
    assert (found.driver, found.pool, found.generation, found.node_name) == (
        "gpu.example.com",
        "node-a",
        3,
        "node-a",
    )


def test_slices_belong_to_their_node():
    (item,) = plan_slices("gpu.example.com", Pool("node-a"), 1, OWNER)
    assert item["metadata"] == {
        "generateName": "00000-gpu.example.com-node-a-",
        "ownerReferences": [
            {"apiVersion": "v1", "kind": "Node", "name": "node-a", "uid": "node-uid", "controller": True}
        ],
    }


def test_a_pool_for_all_nodes_has_no_node_name():
    (item,) = plan_slices("gpu.example.com", Pool("fabric", (Device("c-0"),), all_nodes=True), 1)
    assert item["spec"]["allNodes"] is True
    assert "nodeName" not in item["spec"]


def test_the_index_in_a_name_is_hexadecimal_and_long_names_are_cut():
    assert generate_name(255, "d.example.com", "a/b") == "000ff-d.example.com-a-b-"
    assert len(generate_name(0, "d" * 63, "n" * 253)) == 248
    assert index_of("someone-elses") is None


@pytest.mark.parametrize(
    ("pool", "complaint"),
    [
        (Pool("Node_A"), r"pool.name is 'Node_A'"),
        (Pool("n", (Device("GPU_0"),)), r"devices\[GPU_0\].name"),
        (Pool("n", (Device("a"), Device("a"))), r"devices\[a\].name is 'a', must be unique"),
        (Pool("n", (Device("a", {"x": "é" * 33}),)), r"attributes\[x\].string .* at most 64 bytes"),
        (Pool("n", (Device("a", {"v": Version("1.2")}),)), r"attributes\[v\].version is '1.2'"),
        (Pool("n", (Device("a", {"v": Version("1.02.3")}),)), r"attributes\[v\].version"),
        (Pool("n", (Device("a", {"i": 2**63}),)), r"64-bit"),
        (Pool("n", (Device("a", {"l": ()}),)), r"attributes\[l\].strings is \[\], must be not empty"),
        (Pool("n", (Device("a", {"a/b/c": 1}),)), r"attributes\[a/b/c\]"),
        (Pool("n", (Device("a", {"9x": 1}),)), r"C identifier"),
        (Pool("n", (Device("a", {f"x{i}": 1 for i in range(33)}),)), r"attributes is 33, must be at most 32"),
        (Pool("n", (Device("a", {"l": tuple(range(49))}),)), r"at most 48 values"),
        (Pool("n", (Device("a", taints=(TAINT,) * 17),)), r"taints is 17, must be at most 16"),
        (Pool("n", (Device("a", taints=(Taint("-x", "NoSchedule"),)),)), r"taints\[-x\].key"),
        (Pool("n", (Device("a", taints=(Taint("x", "Never"),)),)), r"effect is 'Never'"),
        (Pool("n", (Device("a", consumes_counters=(CounterConsumption("s", {}),)),)), r"1 to 32 counters"),
        (Pool("n", (), (CounterSet("S_", {"m": Quantity.parse("1")}),)), r"sharedCounters\[S_\].name"),
        (Pool("n", (Device("a", binding_conditions=("x",)),)), r"together with bindingFailureConditions"),
        (Pool("n", (Device("a", node_name="m"),)), r"on the slice, not on devices"),
        (Pool("n", (Device("a"),), per_device_node_selection=True), r"exactly one of nodeName"),
        (
            Pool(
                "n",
                (
                    Device(
                        "a", capacity={"m": Capacity(Quantity.parse("1"), RequestPolicy(Quantity.parse("1")))}
                    ),
                ),
            ),
            r"requestPolicy .* absent without allowMultipleAllocations",
        ),
    ],
)
def test_a_pool_beyond_a_limit_is_refused_by_field_and_rule(pool, complaint):
    with pytest.raises(InvalidSlice, match=complaint):
        plan_slices("gpu.example.com", pool, 1, OWNER)


@pytest.mark.parametrize(
    ("policy", "complaint"),
    [
        (RequestPolicy(valid_values=(Quantity.parse("1"),)), r"\.default"),
        (RequestPolicy(Quantity.parse("3"), valid_values=(Quantity.parse("1"),)), "one of validValues"),
        (RequestPolicy(Quantity.parse("2"), (Quantity.parse("2"), Quantity.parse("1"))), "ascending"),
        (RequestPolicy(Quantity.parse("11"), (Quantity.parse("11"),)), "at most the capacity, 10"),
        (
            RequestPolicy(
                Quantity.parse("3"), (), ValidRange(Quantity.parse("1"), None, Quantity.parse("4"))
            ),
            "multiple",
        ),
        (RequestPolicy(Quantity.parse("1"), (), ValidRange(Quantity.parse("2"))), "inside validRange"),
        (
            RequestPolicy(
                Quantity.parse("1"), (), ValidRange(Quantity.parse("1"), None, Quantity.parse("0"))
            ),
            "above 0",
        ),
    ],
)
def test_a_request_policy_that_cannot_hold_is_refused(policy, complaint):
    device = Device(
        "a", capacity={"m": Capacity(Quantity.parse("10"), policy)}, allow_multiple_allocations=True
    )
    with pytest.raises(InvalidSlice, match=complaint):
        plan_slices("gpu.example.com", Pool("n", (device,)), 1, OWNER)


def test_what_the_server_rewrites_is_no_difference():
    wanted = {"pool": {"name": "n"}, "devices": [{"name": "a", "capacity": {"memory": {"value": "1Gi"}}}]}
    stored = {
        "pool": {"name": "n"},
        "devices": [{"name": "a", "capacity": {"memory": {"value": "1024Mi"}}, "taints": None}],
        "sharedCounters": [],
    }
    assert normal(wanted) == normal(stored)
    assert differences(wanted, stored) == []


def test_fields_that_a_server_dropped_are_named():
    wanted = plan_slices("gpu.example.com", Pool("n", (GPU,)), 1, OWNER)[0]["spec"]
    stored = {**wanted, "devices": [{**wanted["devices"][0]}]}
    del stored["devices"][0]["taints"], stored["devices"][0]["consumesCounters"]
    assert differences(wanted, stored) == ["devices[].taints", "devices[].consumesCounters"]


def test_a_false_attribute_and_a_missing_one_are_different():
    with_false = {"devices": [{"name": "a", "attributes": {"mig": {"bool": False}}}]}
    assert normal(with_false) != normal({"devices": [{"name": "a"}]})


def test_the_clock_of_a_taint_keeps_running():
    wanted = {"devices": [{"name": "a", "taints": [{"key": "k", "effect": "NoExecute"}]}]}
    stored = {"devices": [{"name": "a", "taints": [{"key": "k", "effect": "NoExecute", "timeAdded": "T"}]}]}
    assert keep_times_added(wanted, stored)["devices"][0]["taints"][0]["timeAdded"] == "T"
    assert "timeAdded" not in wanted["devices"][0]["taints"][0]


@pytest.mark.parametrize(
    "spec", [{}, {"driver": "d", "pool": 3}, {"driver": "d", "pool": {"name": "p"}}, None]
)
def test_an_object_that_is_no_slice_is_refused_by_name(spec):
    with pytest.raises(MalformedSlice, match="ResourceSlice x"):
        Slice.from_object({"metadata": {"name": "x"}, "spec": spec})


def test_a_device_class_reads_back():
    device_class = DeviceClass("gpu", ("device.driver == 'd'",), (("d", {"a": 1}),), "example.com/gpu")
    assert DeviceClass.from_object(device_class.to_object()) == device_class


def counted(name: str, counter_set: str | None) -> Device:
    taken = (
        () if counter_set is None else (CounterConsumption(counter_set, {"memory": Quantity.parse("1Gi")}),)
    )
    return Device(name, consumes_counters=taken)


@pytest.mark.parametrize(
    ("layout", "expected"),
    [
        ("packed", [["set-0", "set-1"], ["a", "x", "b", "c"]]),
        ("per-set", [["set-0", "set-1"], ["a", "c"], ["b"], ["x"]]),
        ("beside", [["set-0", "a", "c"], ["set-1", "b"], ["x"]]),
    ],
)
def test_a_pool_chooses_where_devices_with_counters_go(layout, expected):
    sets = tuple(CounterSet(f"set-{index}", {"memory": Quantity.parse("1Gi")}) for index in range(2))
    devices = (counted("a", "set-0"), counted("x", None), counted("b", "set-1"), counted("c", "set-0"))

    slices = plan_slices("d.example.com", Pool("n", devices, sets, counter_layout=layout), 1, OWNER)

    names = [
        [item["name"] for key in ("sharedCounters", "devices") for item in each["spec"].get(key, ())]
        for each in slices
    ]
    assert names == expected
