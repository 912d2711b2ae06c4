from __future__ import annotations

import copy
import threading
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from claimwright.dra.kube import NODES, RESOURCE_SLICES, Unavailable
from claimwright.dra.plugin import LIST_ATTRIBUTES, DroppedFields, SlicePublisher
from claimwright.dra.plugin.reconcile import Create, Delete, Replace, changes
from claimwright.dra.quantities import Quantity
from claimwright.dra.slices import Device, InvalidSlice, NodeOwner, Pool, Taint, plan_slices
from claimwright.dra.testing import FakeApi, Refused

DRIVER = "gpu.example.com"
OWNER = NodeOwner("node-a", "node-uid")


def pool(count=3, *, memory="80Gi", name="node-a", **more):
    return Pool(
        name,
        tuple(
            Device(f"gpu-{index}", capacity={"memory": Quantity.parse(memory)}, **more)
            for index in range(count)
        ),
    )


def wait_until(condition, *, seconds=15.0):
    deadline = time.monotonic() + seconds
    pause = threading.Event()
    while not condition():
        assert time.monotonic() < deadline, "the condition did not come true in time"
        pause.wait(0.01)


class Bench:
    """A fake API server with a node, and publishers on it."""

    def __init__(self, api):
        self.api = api
        self.errors = []
        self.publishers = []
        self.node = api.put(NODES, {"metadata": {"name": "node-a"}})

    def publisher(self, *pools, **more):
        made = SlicePublisher(
            self.api.kube(),
            DRIVER,
            node_name="node-a",
            on_error=self.errors.append,
            first_backoff_seconds=0.01,
            last_backoff_seconds=0.1,
            **more,
        )
        self.publishers.append(made)
        made.update(*pools)
        made.start()
        return made

    def published(self, *pools):
        made = self.publisher(*pools)
        assert made.wait_published(15)
        return made

    def slices(self):
        return self.api.objects(RESOURCE_SLICES)

    def devices(self):
        return [device["name"] for item in self.slices() for device in item["spec"].get("devices", [])]

    def generations(self):
        return [item["spec"]["pool"]["generation"] for item in self.slices()]

    def quiet(self, publisher, *, rounds=5):
        """Let the publisher look again several times; gives the writes that this caused."""
        before = len(self.api.writes())
        for _ in range(rounds):
            publisher._wake.set()
            wait_until(lambda: not publisher._wake.is_set())
        return self.api.writes()[before:]


@pytest.fixture
def bench():
    with FakeApi() as api:
        made = Bench(api)
        yield made
        for publisher in made.publishers:
            publisher.stop()


def test_a_pool_is_published_once_and_never_written_again(bench):
    publisher = bench.published(pool(200))
    assert bench.devices() == [f"gpu-{index}" for index in range(200)]
    assert bench.generations() == [1, 1]
    assert bench.slices()[0]["metadata"]["ownerReferences"][0]["uid"] == bench.node["metadata"]["uid"]
    assert bench.quiet(publisher) == []
    publisher.update(pool(200))
    assert publisher.wait_published(15)
    assert bench.quiet(publisher) == []


def test_a_change_of_one_slice_keeps_the_generation(bench):
    publisher = bench.published(pool(3))
    publisher.update(pool(4))
    assert publisher.wait_published(15)
    assert (bench.devices()[-1], bench.generations()) == ("gpu-3", [1])


def test_a_change_of_several_slices_makes_a_new_generation(bench):
    publisher = bench.published(pool(200))
    publisher.update(pool(300))
    assert publisher.wait_published(15)
    assert bench.generations() == [2, 2, 2]
    publisher.update(pool(5))
    assert publisher.wait_published(15)
    assert (bench.generations(), len(bench.devices())) == ([3], 5)


def test_a_deleted_slice_comes_back(bench):
    bench.published(pool(200))
    bench.api.remove(RESOURCE_SLICES, bench.slices()[1]["metadata"]["name"])
    wait_until(lambda: len(bench.slices()) == 2)
    assert bench.devices() == [f"gpu-{index}" for index in range(200)]
    assert bench.generations() == [1, 1]


def test_all_slices_come_back_after_a_kubelet_wiped_them(bench):
    bench.published(pool(200))
    bench.api.kube().delete_collection(RESOURCE_SLICES, field_selector="spec.nodeName=node-a")
    wait_until(lambda: len(bench.slices()) == 2)
    assert bench.devices() == [f"gpu-{index}" for index in range(200)]


def test_slices_of_a_node_that_was_made_anew_belong_to_the_new_one(bench):
    bench.published(pool(3))
    bench.api.remove(NODES, "node-a")
    fresh = bench.api.put(NODES, {"metadata": {"name": "node-a"}})
    bench.api.remove(RESOURCE_SLICES, bench.slices()[0]["metadata"]["name"])
    wait_until(lambda: len(bench.slices()) == 1)
    assert bench.slices()[0]["metadata"]["ownerReferences"][0]["uid"] == fresh["metadata"]["uid"]


def test_a_foreign_edit_is_repaired(bench):
    bench.published(pool(3))
    edited = copy.deepcopy(bench.slices()[0])
    edited["spec"]["devices"] = edited["spec"]["devices"][:1]
    bench.api.put(RESOURCE_SLICES, edited)
    wait_until(lambda: len(bench.devices()) == 3)


def test_a_foreign_slice_in_the_pool_is_removed(bench):
    bench.published(pool(3))
    foreign = copy.deepcopy(bench.slices()[0])
    foreign["metadata"] = {"name": "somebody-elses"}
    bench.api.put(RESOURCE_SLICES, foreign)
    wait_until(lambda: [item["metadata"]["name"][:5] for item in bench.slices()] == ["00000"])


def test_slices_of_other_drivers_and_nodes_are_left_alone(bench):
    for name, driver, node in (
        ("other-driver", "nic.example.com", "node-a"),
        ("other-node", DRIVER, "node-b"),
    ):
        (item,) = plan_slices(driver, pool(1, name=node), 1, NodeOwner(node, "u"))
        bench.api.put(RESOURCE_SLICES, {**item, "metadata": {"name": name}})
    publisher = bench.published(pool(3))
    assert len(bench.slices()) == 3
    publisher.withdraw()
    assert [item["metadata"]["name"] for item in bench.slices()] == ["other-driver", "other-node"]


def test_a_pool_that_is_not_wanted_any_more_goes(bench):
    publisher = bench.published(pool(1), pool(2, name="node-a/extra"))
    assert len(bench.slices()) == 2
    publisher.update(pool(1))
    assert publisher.wait_published(15)
    assert [item["spec"]["pool"]["name"] for item in bench.slices()] == ["node-a"]


@pytest.mark.parametrize("status", [0, 409, 429, 500])
@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE"])
def test_a_write_that_fails_is_tried_again(bench, method, status):
    publisher = bench.published(pool(200))
    bench.api.fail(method, "/resourceslices", status, times=2, reason="Injected")
    publisher.update(pool(300 if method == "POST" else 5))
    assert publisher.wait_published(15)
    assert len(bench.devices()) == (300 if method == "POST" else 5)
    assert all(error.recoverable for error in bench.errors)
    assert bench.quiet(publisher) == []


def test_without_its_node_nothing_is_published_until_it_comes(bench):
    bench.api.remove(NODES, "node-a")
    publisher = bench.publisher(pool(1))
    wait_until(lambda: bench.errors)
    assert bench.slices() == []
    bench.api.put(NODES, {"metadata": {"name": "node-a"}})
    assert publisher.wait_published(15)


def test_a_lost_watch_hides_no_deletion(bench):
    bench.published(pool(3))
    bench.api.fail("GET", "watch=true", 500, times=3)
    bench.api.drop_watches(forget=True)
    bench.api.remove(RESOURCE_SLICES, bench.slices()[0]["metadata"]["name"])
    wait_until(lambda: len(bench.slices()) == 1)


def test_fields_that_the_server_drops_are_told_once_and_do_not_flap():
    def without_taints(item):
        for device in item.get("spec", {}).get("devices", []):
            device.pop("taints", None)
        return item

    with FakeApi(mutate=without_taints) as api:
        bench = Bench(api)
        publisher = bench.published(pool(2, taints=(Taint("a/b", "NoSchedule"),)))
        try:
            (error,) = bench.errors
            assert isinstance(error, DroppedFields)
            assert error.fields == ("devices[].taints",)
            assert bench.quiet(publisher) == []
        finally:
            publisher.stop()


def test_a_slice_that_is_refused_for_its_lists_is_told_as_such():
    """As an API server does whose gate for list attributes is off: it drops the list, then misses a value."""

    def without_lists(item):
        for device in item.get("spec", {}).get("devices", []):
            if any("ints" in value for value in device.get("attributes", {}).values()):
                raise Refused(422, "Invalid", "spec.devices[0].attributes[numaNode]: must specify one of")
        return item

    with FakeApi(mutate=without_lists) as api:
        bench = Bench(api)
        publisher = bench.publisher(pool(1, attributes={"numaNode": (0,)}))
        try:
            wait_until(lambda: any(isinstance(error, DroppedFields) for error in bench.errors))
            publisher.update(pool(1, attributes={"numaNode": 0}))
            assert publisher.wait_published(15)
        finally:
            publisher.stop()
        told = [error for error in bench.errors if isinstance(error, DroppedFields)]
        assert {error.fields for error in told} == {(LIST_ATTRIBUTES,)}


def test_the_time_of_a_taint_survives_an_update(bench):
    tainted = pool(1, taints=(Taint("a/b", "NoExecute"),))
    publisher = bench.published(tainted)
    stored = copy.deepcopy(bench.slices()[0])
    stored["spec"]["devices"][0]["taints"][0]["timeAdded"] = "2026-01-01T00:00:00Z"
    bench.api.put(RESOURCE_SLICES, stored)
    publisher.update(pool(2, taints=(Taint("a/b", "NoExecute"),)))
    assert publisher.wait_published(15)
    first = bench.slices()[0]["spec"]["devices"][0]
    assert first["taints"][0]["timeAdded"] == "2026-01-01T00:00:00Z"


def test_slices_stay_when_the_publisher_stops(bench):
    publisher = bench.published(pool(3))
    publisher.stop()
    publisher.stop()
    assert len(bench.devices()) == 3
    bench.published(pool(3))
    assert [request for request in bench.api.writes() if request[0] != "POST"] == []


def test_a_pool_beyond_a_limit_is_refused_before_anything_is_written(bench):
    publisher = bench.published(pool(1))
    with pytest.raises(InvalidSlice):
        publisher.update(Pool("node-a", (Device("Bad_"),)))
    assert bench.quiet(publisher) == []


def test_withdrawing_from_a_dead_server_says_so(bench):
    publisher = bench.published(pool(1))
    bench.api.fail("GET", "/resourceslices", 500, times=1000)
    with pytest.raises(Unavailable):
        publisher.withdraw()


def apply(stored, todo, counter=[0]):  # noqa: B006
    for change in todo:
        match change:
            case Create(item):
                counter[0] += 1
                stored[f"{item['metadata']['generateName']}{counter[0]}"] = item
            case Replace(item):
                stored[item["metadata"]["name"]] = item
            case Delete(item):
                del stored[item["metadata"]["name"]]
        for name, item in stored.items():
            item["metadata"] = {**item["metadata"], "name": name}
        yield dict(stored)


def visible(stored):
    """The pool's devices as a scheduler sees them: None where the pool is incomplete."""
    generation = max((item["spec"]["pool"]["generation"] for item in stored.values()), default=0)
    newest = [item for item in stored.values() if item["spec"]["pool"]["generation"] == generation]
    if not newest or len(newest) != newest[0]["spec"]["pool"]["resourceSliceCount"]:
        return None
    ordered = sorted(newest, key=lambda item: item["metadata"]["name"])
    return [(device["name"], str(device)) for item in ordered for device in item["spec"].get("devices", [])]


@settings(deadline=None, max_examples=60)
@given(
    steps=st.lists(
        st.tuples(st.integers(0, 300), st.booleans(), st.sampled_from(["40Gi", "80Gi"])),
        min_size=1,
        max_size=5,
    ),
    loss=st.integers(0, 3),
)
def test_a_scheduler_sees_the_old_pool_or_the_new_one_and_never_a_mixture(steps, loss):
    stored, before = {}, None
    for count, heavy, memory in steps:
        wanted = pool(count, memory=memory, taints=(Taint("a/b", "NoSchedule"),) if heavy else ())
        for name in sorted(stored)[:loss]:
            del stored[name]
        before = visible(stored)
        todo = changes(DRIVER, wanted, list(stored.values()), OWNER)
        seen = [visible(state) for state in apply(stored, todo)]
        after = visible(stored)
        assert [name for name, _ in after] == [device.name for device in wanted.devices]
        assert all(view in (None, before, after) for view in seen)
        assert changes(DRIVER, wanted, list(stored.values()), OWNER) == []
