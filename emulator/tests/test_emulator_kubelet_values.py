"""Pure parts of the kubelet stand-in: pods, plans, life cycle, status, claims, checkpoint, health."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from claimwright.dra.claims import ClaimReference, ClaimUid, DriverName
from claimwright.dra.prepared import DeviceHealth, PreparedDevice
from claimwright.emulator.kubelet.addresses import AddressesExhausted, PodAddresses
from claimwright.emulator.kubelet.admission import admit, pod_requests
from claimwright.emulator.kubelet.claim_state import ClaimState, decode_checkpoint, encode_checkpoint
from claimwright.emulator.kubelet.claims import DriverUse, check_claim, needed_claims
from claimwright.emulator.kubelet.containers import Running, Terminated, restore_records
from claimwright.emulator.kubelet.errors import CheckpointCorrupt, ClaimNotReady, PodRejected
from claimwright.emulator.kubelet.health import HealthCache, allocated_resources, resource_id
from claimwright.emulator.kubelet.lifecycle import decide, phase_of
from claimwright.emulator.kubelet.node_objects import StandInNode, address_of, pod_range_of
from claimwright.emulator.kubelet.plans import plan_containers
from claimwright.emulator.kubelet.pods import Pod, PodUid
from claimwright.emulator.kubelet.status import PodFacts, build_status
from claimwright.emulator.kubelet.timings import Timings
from claimwright.emulator.kubelet.views import container_cdi_ids

NOW = datetime(2026, 11, 21, 10, 0, tzinfo=UTC)
TIMINGS = Timings()


def a_pod(*containers, init=(), annotations=None, policy="Always", status=None, **spec) -> Pod:
    return Pod.from_object(
        {
            "metadata": {
                "namespace": "ns",
                "name": "p",
                "uid": "u1",
                "resourceVersion": "5",
                "annotations": annotations,
            },
            "spec": {
                "nodeName": "n",
                "restartPolicy": policy,
                "containers": [{"name": c} if isinstance(c, str) else c for c in containers or ("main",)],
                "initContainers": [{"name": c} if isinstance(c, str) else c for c in init],
                **spec,
            },
            "status": status or {},
        }
    )


def live(pod: Pod, seconds: float, *, records=None, start=NOW):
    """Play the pod for so many seconds of virtual time; return records, last decision and the order of starts."""
    plans, records, now, order = plan_containers(pod), records or restore_records(pod), start, []
    end = start + timedelta(seconds=seconds)
    for _ in range(1000):
        decision = decide(pod, plans, records, now=now, timings=TIMINGS)
        for name, code in decision.exits:
            records[name] = records[name].ended(now, code)
        for name in decision.starts:
            records[name] = records[name].started(now)
            order.append(name)
        if not decision.nothing_to_do:
            continue
        if decision.finished or decision.wake_at is None or decision.wake_at > end:
            return records, decision, order
        now = max(now, decision.wake_at)
    raise AssertionError("the life of the pod does not come to rest")


SIDECAR = {"name": "side", "restartPolicy": "Always"}


@pytest.mark.parametrize(
    ("pod", "seconds", "phase", "starts"),
    [
        pytest.param(a_pod(), 3600, "Running", ["main"], id="runs-until-deleted"),
        pytest.param(
            a_pod(annotations={"claimwright.dev/run-seconds": "5"}, policy="Never"),
            10,
            "Succeeded",
            ["main"],
            id="succeeds",
        ),
        pytest.param(
            a_pod(annotations={"claimwright.dev/run-seconds": "5"}, policy="OnFailure"),
            4,
            "Running",
            ["main"],
            id="not-yet",
        ),
        pytest.param(
            a_pod(
                annotations={"claimwright.dev/run-seconds": "1", "claimwright.dev/exit-code": "3"},
                policy="Never",
            ),
            10,
            "Failed",
            ["main"],
            id="fails",
        ),
        pytest.param(a_pod(init=("i1", "i2")), 1, "Running", ["i1", "i2", "main"], id="init-in-order"),
        pytest.param(
            a_pod(init=("i1", SIDECAR, "i2")),
            1,
            "Running",
            ["i1", "side", "i2", "main"],
            id="sidecar-in-its-place",
        ),
        pytest.param(
            a_pod(init=("i1",), annotations={"claimwright.dev/exit-code.i1": "1"}, policy="Never"),
            99,
            "Failed",
            ["i1"],
            id="init-fails-for-good",
        ),
        pytest.param(
            a_pod("a", "b", annotations={"claimwright.dev/run-seconds.a": "1"}, policy="Never"),
            99,
            "Running",
            ["a", "b"],
            id="one-still-runs",
        ),
        pytest.param(
            a_pod(init=(SIDECAR,), annotations={"claimwright.dev/run-seconds": "2"}, policy="Never"),
            99,
            "Succeeded",
            ["side", "main"],
            id="sidecar-does-not-hold-the-pod",
        ),
        pytest.param(
            a_pod(init=("i1",), annotations={"claimwright.dev/run-seconds.i1": "50"}),
            10,
            "Pending",
            ["i1"],
            id="init-runs",
        ),
    ],
)
def test_a_pod_lives_as_its_plan_says(pod, seconds, phase, starts):
    records, decision, order = live(pod, seconds)
    assert (phase_of(pod, records, decision), order) == (phase, starts)


def test_restarts_back_off_from_at_once_to_five_minutes():
    pod = a_pod(annotations={"claimwright.dev/run-seconds": "0", "claimwright.dev/exit-code": "1"})
    records, decision, order = live(pod, 69)
    # at 0 and at once again, then after 10, 20, 40 s
    assert len(order) == 4
    assert decision.backing_off == {"main"}
    assert phase_of(pod, records, decision) == "Running"


def test_an_init_container_that_fails_is_tried_again_when_the_policy_allows():
    pod = a_pod(init=("i1",), annotations={"claimwright.dev/exit-code.i1": "1"})
    _, _, order = live(pod, 25)
    assert order == ["i1", "i1", "i1"]


def test_a_restarted_container_does_not_run_the_init_containers_again():
    pod = a_pod(init=("i1",), annotations={"claimwright.dev/run-seconds": "5"})
    _, _, order = live(pod, 12)
    assert order == ["i1", "main", "main"]


@pytest.mark.parametrize(
    "annotations",
    [
        {"claimwright.dev/run-seconds": "soon"},
        {"claimwright.dev/run-seconds": "-1"},
        {"claimwright.dev/run-seconds": "inf"},
        {"claimwright.dev/run-seconds": "nan"},
        {"claimwright.dev/exit-code": "256"},
        {"claimwright.dev/exit-code": "1.5"},
    ],
)
def test_a_malformed_plan_is_refused_with_its_annotation_and_value(annotations):
    with pytest.raises(PodRejected) as refused:
        plan_containers(a_pod(annotations=annotations))
    assert next(iter(annotations)) in str(refused.value)


def status_of(pod: Pod, seconds: float = 1, **facts):
    records, decision, _ = live(pod, seconds)
    filled = PodFacts(host_ip="198.18.0.1", started_at=NOW, pod_ip="10.64.0.2", **facts)
    return build_status(pod, records, decision, filled, now=NOW)


def conditions(status) -> dict[str, str]:
    return {entry["type"]: entry["status"] for entry in status["conditions"]}


def test_a_running_pod_is_ready_and_has_its_addresses():
    status = status_of(a_pod())
    assert status["phase"] == "Running"
    assert set(conditions(status).values()) == {"True"}
    assert (status["podIP"], status["hostIP"]) == ("10.64.0.2", "198.18.0.1")
    assert status["containerStatuses"][0]["state"] == {"running": {"startedAt": "2026-11-21T10:00:00Z"}}


def test_a_pod_in_its_init_containers_is_not_initialized():
    status = status_of(a_pod(init=("i",), annotations={"claimwright.dev/run-seconds.i": "9"}))
    assert status["phase"] == "Pending"
    assert conditions(status)["Initialized"] == "False"
    assert status["containerStatuses"][0]["state"]["waiting"]["reason"] == "PodInitializing"


def test_a_condition_that_holds_keeps_its_time_and_one_that_changes_gets_a_new_one():
    old = "2026-11-21T08:00:00Z"
    before = [
        {"type": "Ready", "status": "False", "lastTransitionTime": old, "reason": "ContainersNotReady"},
        {"type": "Initialized", "status": "True", "lastTransitionTime": old},
    ]
    found = {c["type"]: c for c in status_of(a_pod(status={"conditions": before}))["conditions"]}
    assert found["Initialized"]["lastTransitionTime"] == old
    assert found["Ready"]["lastTransitionTime"] == "2026-11-21T10:00:00Z"
    assert found["Ready"]["reason"] is None


def test_a_crash_loop_shows_as_waiting_with_the_last_end():
    pod = a_pod(annotations={"claimwright.dev/run-seconds": "0", "claimwright.dev/exit-code": "7"})
    container = status_of(pod, seconds=5)["containerStatuses"][0]
    assert container["state"]["waiting"]["reason"] == "CrashLoopBackOff"
    assert container["lastState"]["terminated"]["exitCode"] == 7
    assert container["restartCount"] == 1


@given(run=st.integers(0, 100), code=st.integers(0, 255), seconds=st.integers(0, 200))
def test_a_status_read_back_gives_the_same_records(run, code, seconds):
    pod = a_pod(
        annotations={"claimwright.dev/run-seconds": str(run), "claimwright.dev/exit-code": str(code)},
        init=("i",),
        policy="Never",
    )
    records, decision, _ = live(pod, seconds)
    facts = PodFacts(host_ip="198.18.0.1", started_at=NOW, pod_ip="10.64.0.2")
    status = build_status(pod, records, decision, facts, now=NOW)
    assert restore_records(a_pod(init=("i",), status=status)) == records


def a_claim(**status):
    return {
        "metadata": {
            "namespace": "ns",
            "name": "c",
            "uid": "cu",
            "ownerReferences": [{"kind": "Pod", "name": "p", "uid": "u1", "controller": True}],
        },
        "status": {
            "reservedFor": [{"resource": "pods", "name": "p", "uid": "u1"}],
            "allocation": {
                "devices": {
                    "results": [{"request": "gpu", "driver": "d.example", "pool": "n", "device": "g0"}]
                }
            },
            **status,
        },
    }


TEMPLATE = [{"name": "gpu", "resourceClaimTemplateName": "t"}]
MADE = {"resourceClaimStatuses": [{"name": "gpu", "resourceClaimName": "c"}]}


def test_a_template_claim_is_found_through_the_pods_status():
    pod = a_pod(resourceClaims=TEMPLATE, status=MADE)
    (needed,) = needed_claims(pod)
    assert (needed.name, needed.check_owner) == ("c", True)
    assert check_claim(pod, needed, a_claim()).drivers == (DriverUse(DriverName("d.example")),)


def test_a_template_that_needs_no_claim_is_skipped():
    pod = a_pod(resourceClaims=TEMPLATE, status={"resourceClaimStatuses": [{"name": "gpu"}]})
    assert needed_claims(pod) == ()


def test_a_template_claim_that_is_not_made_yet_is_waited_for():
    with pytest.raises(ClaimNotReady, match=r'pod "ns/p": ResourceClaim not created yet'):
        needed_claims(a_pod(resourceClaims=TEMPLATE))


@pytest.mark.parametrize(
    ("claim", "words"),
    [
        pytest.param(
            a_claim() | {"metadata": a_claim()["metadata"] | {"ownerReferences": []}},
            "was not created for pod",
            id="foreign-owner",
        ),
        pytest.param(a_claim(reservedFor=[]), "is not allowed to use ResourceClaim c", id="not-reserved"),
        pytest.param(
            a_claim(reservedFor=[{"resource": "pods", "name": "p", "uid": "old"}]),
            "is not allowed to use",
            id="reserved-for-the-previous-pod-of-that-name",
        ),
        pytest.param(a_claim(allocation=None), "not allocated", id="not-allocated"),
    ],
)
def test_a_claim_that_the_pod_may_not_use_is_refused_in_the_kubelets_words(claim, words):
    pod = a_pod(resourceClaims=TEMPLATE, status=MADE)
    with pytest.raises(ClaimNotReady, match=words):
        check_claim(pod, needed_claims(pod)[0], claim)


@pytest.mark.parametrize(
    ("skips", "prepare", "unprepare"),
    [
        ([["*"], ["*"]], True, True),
        ([["NodePrepareResources", "NodeUnprepareResources"], ["*"]], True, True),
        ([["NodeUnprepareResources"], ["*"]], False, True),
        ([["NodePrepareResources"], ["NodePrepareResources"]], False, False),
        ([["*"], []], False, False),
    ],
)
def test_an_operation_is_skipped_only_when_every_result_says_so(skips, prepare, unprepare):
    results = [
        {"request": "r", "driver": "d", "pool": "n", "device": f"g{i}", "skipNodeOperations": skip}
        for i, skip in enumerate(skips)
    ]
    pod = a_pod(resourceClaims=TEMPLATE, status=MADE)
    usable = check_claim(pod, needed_claims(pod)[0], a_claim(allocation={"devices": {"results": results}}))
    (use,) = usable.drivers
    assert (use.skip_prepare, use.skip_unprepare) == (prepare, unprepare)


def a_state(**fields) -> ClaimState:
    devices = (
        PreparedDevice(("gpu",), "n", "g0", ("v/gpu=g0",)),
        PreparedDevice((), "n", "g1", ("v/gpu=g1",), share_id="s"),
    )
    defaults = {
        "reference": ClaimReference("ns", "c", ClaimUid("cu")),
        "pods": frozenset({PodUid("u1")}),
        "devices": {DriverName("d.example"): devices, DriverName("none.example"): ()},
    }
    return ClaimState(**(defaults | fields))


def test_the_checkpoint_is_the_kubelets_and_reads_back():
    text = encode_checkpoint([a_state()])
    data = json.loads(json.loads(text)["Data"])
    assert data["apiVersion"] == "checkpoint.dra.kubelet.k8s.io/v1"
    (entry,) = data["Entries"]
    assert set(entry) == {"ClaimUID", "ClaimName", "Namespace", "PodUIDs", "DriverState"}
    assert entry["DriverState"]["d.example"]["Devices"][1]["ShareID"] == "s"
    assert decode_checkpoint(text, "x") == (a_state(),)


@pytest.mark.parametrize(
    "text",
    ["", "{}", "[]", '{"Data": "{}", "Checksum": 1}', encode_checkpoint([a_state()]).replace("g0", "g9")],
)
def test_a_checkpoint_that_was_not_written_by_us_is_named(text):
    with pytest.raises(CheckpointCorrupt, match="state-file"):
        decode_checkpoint(text, "state-file")


def test_being_prepared_does_not_survive_a_restart():
    (read,) = decode_checkpoint(encode_checkpoint([a_state(prepared=True)]), "x")
    assert not read.prepared


@pytest.mark.parametrize(
    ("uses", "ids"),
    [
        ([{"name": "gpu"}], ("v/gpu=g0", "v/gpu=g1")),
        ([{"name": "gpu", "request": "gpu"}], ("v/gpu=g0", "v/gpu=g1")),
        ([{"name": "gpu", "request": "other"}], ("v/gpu=g1",)),
        ([{"name": "gpu", "request": "other"}, {"name": "gpu"}], ("v/gpu=g1", "v/gpu=g0")),
        ([], ()),
    ],
    ids=["whole-claim", "its-request", "other-request", "twice", "no-claim"],
)
def test_a_container_gets_the_devices_of_the_requests_that_it_names(uses, ids):
    pod = a_pod({"name": "main", "resources": {"claims": uses}}, resourceClaims=TEMPLATE, status=MADE)
    assert container_cdi_ids(pod, pod.containers[0], {"gpu": a_state()}) == ids


def test_extended_resources_map_to_requests_of_their_claim():
    status = {
        "extendedResourceClaimStatus": {
            "resourceClaimName": "x",
            "requestMappings": [
                {"containerName": "main", "resourceName": "example.com/gpu", "requestName": "gpu"},
                {"containerName": "other", "resourceName": "example.com/gpu", "requestName": "gpu"},
            ],
        }
    }
    main = {"name": "main", "resources": {"requests": {"example.com/gpu": "1"}}}
    pod = a_pod(main, "other", status=status)
    assert [needed.name for needed in needed_claims(pod)] == ["x"]
    assert container_cdi_ids(pod, pod.containers[0], {"": a_state()}) == ("v/gpu=g0", "v/gpu=g1")
    assert container_cdi_ids(pod, pod.containers[1], {"": a_state()}) == ()


class Ticks:
    def __init__(self) -> None:
        self.time = 100.0

    def __call__(self) -> float:
        return self.time


def test_health_is_unknown_before_a_report_after_silence_and_after_the_stream():
    ticks = Ticks()
    cache = HealthCache(ticks)
    assert cache.of("d", "n", "g0") == ("Unknown", "")
    assert cache.report("d", [DeviceHealth("n", "g0", "Unhealthy", "broken", timeout_seconds=10)])
    assert cache.of("d", "n", "g0") == ("Unhealthy", "broken")
    assert cache.next_expiry() == 110.0
    ticks.time += 11
    assert cache.of("d", "n", "g0") == ("Unknown", "")
    assert cache.report("d", [DeviceHealth("n", "g0", "Healthy", timeout_seconds=0)])
    ticks.time += 29
    assert cache.of("d", "n", "g0") == ("Healthy", "")
    assert cache.clear("d")
    assert cache.of("d", "n", "g0") == ("Unknown", "")


def test_the_same_report_again_is_no_change_and_a_missing_device_waits_for_its_timeout():
    ticks = Ticks()
    cache = HealthCache(ticks)
    assert cache.report("d", [DeviceHealth("n", "g0", "Healthy")])
    assert not cache.report("d", [DeviceHealth("n", "g0", "Healthy")])
    assert not cache.report("d", [])
    assert cache.of("d", "n", "g0") == ("Healthy", "")


def test_a_long_message_is_cut_as_the_kubelet_does():
    cache = HealthCache(Ticks())
    cache.report("d", [DeviceHealth("n", "g0", "Healthy", "x" * 2000)])
    message = cache.of("d", "n", "g0")[1]
    assert len(message) == 1024
    assert message.endswith("x...")


def test_device_health_is_listed_per_claim_entry_by_cdi_id():
    uses = [{"name": "gpu"}, {"name": "gpu", "request": "gpu"}]
    pod = a_pod({"name": "main", "resources": {"claims": uses}}, resourceClaims=TEMPLATE, status=MADE)
    cache = HealthCache(Ticks())
    cache.report("d.example", [DeviceHealth("n", "g0", "Unhealthy", "hot")])
    first, second = allocated_resources(pod.containers[0], {"gpu": a_state()}, cache)
    assert (first["name"], second["name"]) == ("claim:gpu", "claim:gpu/gpu")
    assert first["resources"] == [
        {"resourceID": "v/gpu=g0", "health": "Unhealthy", "message": "hot"},
        {"resourceID": "v/gpu=g1", "health": "Unknown"},
    ]
    assert resource_id("d", PreparedDevice((), "n", "g0")) == "d/n/g0"


@pytest.mark.parametrize(
    ("spec", "reason"),
    [
        ({"nodeSelector": {"zone": "b"}}, "NodeAffinity"),
        ({"containers": [{"name": "m", "resources": {"requests": {"cpu": "9"}}}]}, "OutOfcpu"),
        ({"containers": [{"name": "m", "resources": {"requests": {"memory": "2Gi"}}}]}, "OutOfmemory"),
    ],
)
def test_a_pod_that_does_not_fit_is_rejected_with_the_kubelets_reason(tmp_path, spec, reason):
    node = StandInNode("n", tmp_path, labels={"zone": "a"}, capacity={"cpu": "8", "memory": "1Gi"})
    with pytest.raises(PodRejected) as rejected:
        admit(node, a_pod(**spec), [])
    assert rejected.value.reason == reason


def test_the_number_of_pods_and_their_sum_count(tmp_path):
    node = StandInNode("n", tmp_path, capacity={"pods": "1", "cpu": "2"})
    admit(node, a_pod(), [])
    with pytest.raises(PodRejected, match="pods"):
        admit(node, a_pod(), [a_pod()])


def test_the_largest_init_container_counts_where_it_is_larger_than_the_rest():
    heavy = {"name": "i", "resources": {"requests": {"cpu": "3"}}}
    pod = a_pod({"name": "m", "resources": {"requests": {"cpu": "500m"}}}, init=(heavy,))
    assert pod_requests(pod)["cpu"] == 3


def test_addresses_are_unique_kept_and_given_back():
    addresses = PodAddresses("10.64.0.0/29")
    taken = [addresses.take(PodUid(str(i))) for i in range(5)]
    assert len(set(taken)) == 5
    assert addresses.take(PodUid("0")) == taken[0]
    with pytest.raises(AddressesExhausted):
        addresses.take(PodUid("six"))
    addresses.give_back(PodUid("0"))
    assert addresses.take(PodUid("six"), known=taken[0]) == taken[0]


def test_a_thousand_nodes_have_addresses_and_pod_ranges_of_their_own(tmp_path):
    nodes = [StandInNode(f"n{i}", tmp_path) for i in range(1000)]
    assert len({address_of(node, i) for i, node in enumerate(nodes)}) == 1000
    assert len({pod_range_of(node, i) for i, node in enumerate(nodes)}) == 1000


def test_records_know_running_from_ended():
    pod = a_pod(
        status={
            "containerStatuses": [
                {"name": "main", "state": {"running": {"startedAt": "2026-11-21T09:00:00Z"}}}
            ]
        }
    )
    record = restore_records(pod)["main"]
    assert isinstance(record.state, Running)
    assert isinstance(record.ended(NOW, 1).state, Terminated)
