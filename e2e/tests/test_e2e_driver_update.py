"""Two drivers on one node, as during a rolling update: claims prepared by one are released by the other."""

from __future__ import annotations

import random
import threading
import uuid
from collections.abc import Iterator
from contextlib import suppress

import pytest

from claimwright.dra.claims import ClaimReference
from claimwright.dra.kubelet import CallFailed, InvalidReply
from claimwright.e2e.deadlines import wait_until
from claimwright.e2e.driven_node import DrivenNode
from claimwright.e2e.driver_process import DriverProcess

pytestmark = [pytest.mark.e2e, pytest.mark.slow]
DYNAMIC = "DynamicMIG=true"
OLD, NEW = f"{uuid.UUID(int=1)}", f"{uuid.UUID(int=2)}"


@pytest.fixture
def node() -> Iterator[DrivenNode]:
    with DrivenNode("hgx-h100") as node:
        yield node


def running(node: DrivenNode, *pods: str) -> list[DriverProcess]:
    processes = []
    for pod in pods:
        processes.append(node.instance(pod, DYNAMIC))
        node.serves(pod)
    return processes


def partition(number: int) -> str:
    return f"gpu-0-mig-1g10gb-19-{number}"


def instances(node: DrivenNode) -> list[str]:
    said = node.nvml(
        """
        h = n.nvmlDeviceGetHandleByIndex(0)
        for i in range(n.nvmlDeviceGetMaxMigDeviceCount(h)):
            try: print(n.nvmlDeviceGetUUID(n.nvmlDeviceGetMigDeviceHandleByIndex(h, i)))
            except n.NVMLError: pass
        """
    )
    return said.split()


def specs(node: DrivenNode) -> list[str]:
    return sorted(path.name for path in node.cdi_root.iterdir())


def test_what_the_old_driver_prepared_the_new_one_knows_and_releases(node: DrivenNode) -> None:
    (old,) = running(node, OLD)
    one, other = (node.claim(name, [partition(place)]) for place, name in enumerate("ab"))
    (answer,) = node.prepare(one, at=OLD)
    assert not answer.error

    running(node, NEW)

    assert node.prepare(one, at=NEW) == [answer]
    assert not node.prepare(other, at=NEW)[0].error
    assert len(instances(node)) == 2
    assert node.release(one, other, at=NEW) == ["", ""]
    assert instances(node) == specs(node) == []
    assert old.alive


def test_calls_may_go_to_either_and_back(node: DrivenNode) -> None:
    running(node, OLD, NEW)
    claims = [node.claim(f"c{number}", [partition(number)]) for number in range(6)]

    for number, claim in enumerate(claims):
        assert not node.prepare(claim, at=(OLD, NEW)[number % 2])[0].error
    for number, claim in enumerate(claims):
        assert node.release(claim, at=(NEW, OLD)[number % 2]) == [""]

    assert instances(node) == specs(node) == []


def test_a_device_of_one_is_refused_by_the_other(node: DrivenNode) -> None:
    running(node, OLD, NEW)
    one, other = node.claim("a", ["gpu-3"]), node.claim("b", ["gpu-3"])

    assert not node.prepare(one, at=OLD)[0].error
    assert "already allocated to different claim" in node.prepare(other, at=NEW)[0].error


@pytest.mark.parametrize("victim", [OLD, NEW], ids=["the old one", "the new one"])
@pytest.mark.parametrize("seed", range(3))
def test_one_is_killed_at_a_random_moment_and_the_other_goes_on(
    node: DrivenNode, victim: str, seed: int
) -> None:
    processes = dict(zip((OLD, NEW), running(node, OLD, NEW), strict=True))
    survivor = NEW if victim == OLD else OLD
    claims = [node.claim(f"c{number}", [partition(number)]) for number in range(6)]
    kill = threading.Timer(random.Random(seed).uniform(0, 0.5), processes[victim].kill)
    kill.start()
    for claim in claims:
        try_to_prepare(node, claim, victim)
    kill.join()

    answers = [node.prepare(claim, at=survivor)[0] for claim in claims]

    assert [answer.error for answer in answers] == [""] * 6
    assert len(instances(node)) == 6
    assert node.release(*claims, at=survivor) == [""] * 6
    assert instances(node) == specs(node) == []


def try_to_prepare(node: DrivenNode, claim: ClaimReference, pod: str) -> None:
    with suppress(CallFailed, InvalidReply):  # it was killed meanwhile
        node.prepare(claim, at=pod)


def test_an_update_under_load_fails_no_call(node: DrivenNode) -> None:
    """The old pod serves, the new one starts, the old one is ended: the kubelet calls whoever registered last."""
    (old,) = running(node, OLD)
    stop, failures, cycles = threading.Event(), [], []
    serving = [OLD]

    def load() -> None:
        claim = node.claim("load", [partition(0)])
        while not stop.is_set():
            pod = serving[-1]
            errors = [node.prepare(claim, at=pod)[0].error, *node.release(claim, at=pod)]
            failures.extend(filter(None, errors))
            cycles.append(pod)

    caller = threading.Thread(target=load)
    caller.start()
    try:
        wait_until("cycles of the old one", lambda: len(cycles) > 3, seconds=30)
        running(node, NEW)
        before = len(cycles)
        wait_until("cycles while both run", lambda: len(cycles) > before + 3, seconds=30)
        serving.append(NEW)
        wait_until("cycles of the new one", lambda: cycles.count(NEW) > 3, seconds=30)
        old.stop()
        wait_until("cycles after the update", lambda: cycles.count(NEW) > 10, seconds=30)
    finally:
        stop.set()
        caller.join(60)

    assert failures == []
    assert instances(node) == specs(node) == []


@pytest.mark.parametrize("before", ["v1", "v1beta1"])
@pytest.mark.parametrize("after", ["v1", "v1beta1"])
def test_a_kubelet_may_change_its_version_of_the_interface_between_prepare_and_release(
    node: DrivenNode, before: str, after: str
) -> None:
    """1.34 to 1.37 speak v1; v1beta1 is what a kubelet before them left behind."""
    running(node, OLD, NEW)
    claim = node.claim("a", [partition(0)])

    assert not node.prepare(claim, at=OLD, version=before)[0].error  # type: ignore[arg-type]
    assert node.release(claim, at=NEW, version=after) == [""]  # type: ignore[arg-type]
    assert instances(node) == []
