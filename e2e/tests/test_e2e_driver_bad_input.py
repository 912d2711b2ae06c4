"""What nobody should send, sent to a real driver: an error for that claim, the one beside it served, nothing left."""

from __future__ import annotations

import copy
import itertools
import os
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st

from claimwright.dra.claims import ClaimReference, ClaimUid
from claimwright.dra.kube import RESOURCE_CLAIMS
from claimwright.dra.testing import allocated_claim
from claimwright.driver.testing.crashes import CONFIGS
from claimwright.e2e.driven_node import DRIVER, NODE, Answer, DrivenNode
from claimwright.e2e.soak import world

pytestmark = [pytest.mark.e2e, pytest.mark.slow]
root = pytest.mark.skipif(os.geteuid() != 0, reason="a mount namespace of its own needs root")
BESIDE = "gpu-5"
PARTITION = "gpu-0-mig-1g10gb-19-0"
GROUPS = {"VgpuDeviceConfig": "gpu.claimwright.dev/v1alpha1"}
# A device of each kind, its config, and what a good one holds.
KINDS = {
    "gpu-3": ("GpuConfig", CONFIGS["GpuConfig"]["time-slicing"]),
    "gpu-1": ("GpuConfig", CONFIGS["GpuConfig"]["MPS"]),
    PARTITION: ("MigDeviceConfig", CONFIGS["MigDeviceConfig"]["MPS"]),
    "gpu-vfio-4": ("VfioDeviceConfig", CONFIGS["VfioDeviceConfig"]["IOMMUFD"]),
    "gpu-7-vgpu-t4-2q": ("VgpuDeviceConfig", CONFIGS["VgpuDeviceConfig"]["API device"]),
}
EVIL = (
    "../../../../etc/cron.d/x", "..", ".", "/etc/passwd", "a/../../b", "a\x00b", "x" * 300, "ü\u202e/x", "a\nb",
    "-rf", "%2e%2e%2fx", "a?b#c",
)  # fmt: skip
TEXTS = st.sampled_from([*EVIL, "", "\ud800", "MPS", "10Gi", "FromClaim", DRIVER]) | st.text(max_size=8)
JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats(allow_nan=False, allow_infinity=False)
    | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=6,
)
NUMBERS = itertools.count()


@pytest.fixture(scope="module")
def node() -> Iterator[DrivenNode]:
    with DrivenNode("every-mode") as node:
        node.start("AllAlpha=true")
        node.wait_devices(lambda found: set(KINDS) | {BESIDE} <= set(found))
        first = node.claim("first", [BESIDE])  # makes the folders that stay
        node.prepared(first)
        node.released(first)
        yield node


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Yield the path of everything in a JSON value, itself first."""
    yield path
    pairs = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in pairs:
        yield from places(inner, (*path, key))


def changed(value: Any, path: tuple[Any, ...], other: Any) -> Any:
    """Return the value with something else at a path."""
    if not path:
        return other
    found = copy.copy(value)
    found[path[0]] = changed(value[path[0]], path[1:], other)
    return found


@st.composite
def spoilt(draw: st.DrawFn, value: Any, most: int = 2) -> Any:
    """A value in which up to `most` places hold something else; a field that nobody knows may join."""
    for _ in range(draw(st.integers(1, most))):
        path = draw(st.sampled_from(list(places(value))))
        value = changed(value, path, draw(JSON))
    if isinstance(value, dict) and draw(st.integers(0, 4)) == 0:
        value = {**value, draw(TEXTS): draw(JSON)}
    return value


def item_of(name: str, chosen: str, parameters: Any, **result: object) -> dict[str, Any]:
    configs = [] if parameters is None else [parameters]
    item = allocated_claim(
        name,
        DRIVER,
        [("r0", NODE, chosen)],
        configs=[
            {"source": "FromClaim", "opaque": {"driver": DRIVER, "parameters": each}} for each in configs
        ],
    )
    (found,) = item["status"]["allocation"]["devices"]["results"]
    found.update(result)
    if "vgpu" in chosen:
        found.setdefault("shareID", "7d0c8c5e-6d43-4a6e-9c0b-0d9f6e1c2a11")
    return item


def stored(node: DrivenNode, item: Mapping[str, Any]) -> ClaimReference:
    known = node.api.put(RESOURCE_CLAIMS, dict(item))["metadata"]
    return ClaimReference("default", known["name"], ClaimUid(known["uid"]))


def good_config(device: str) -> dict[str, Any]:
    kind, body = KINDS[device]
    return {"apiVersion": GROUPS.get(kind, "resource.nvidia.com/v1beta1"), "kind": kind, **body}


def answered_beside_a_good_one(node: DrivenNode, bad: ClaimReference) -> Answer:
    """Prepare and release a bad claim together with a good one; return what was said of the bad one."""
    good = node.claim(f"good-{next(NUMBERS)}", [BESIDE])

    answer, other = node.prepare(bad, good)
    released = node.release(bad, good)

    assert [each.device for each in other.devices] == [BESIDE], other.error
    assert released == ["", ""]
    assert not (answer.error and answer.devices)
    assert len(answer.error) < 4096
    assert "\x00" not in answer.error
    assert "Traceback" not in answer.error
    for reference in (bad, good):
        node.api.remove(RESOURCE_CLAIMS, reference.name, namespace="default")
    return answer


def assert_as_before(node: DrivenNode, before: Mapping[str, Any]) -> None:
    assert node.process is not None
    assert node.process.alive, node.log_end()
    assert world(node) == before


@pytest.mark.capability("000-07")
@pytest.mark.parametrize("device", KINDS)
def test_a_config_of_any_shape_is_one_answer_and_the_claim_beside_it_is_served(
    node: DrivenNode, device: str
) -> None:
    before = world(node)

    @settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
    @given(parameters=spoilt(good_config(device)) | JSON)
    def one(parameters: Any) -> None:
        bad = stored(node, item_of(f"bad-{next(NUMBERS)}", device, parameters))
        answer = answered_beside_a_good_one(node, bad)
        event("refused" if answer.error else "prepared")

    one()

    assert_as_before(node, before)


@pytest.mark.parametrize("device", KINDS)
def test_an_allocation_of_any_shape_is_one_answer_and_the_claim_beside_it_is_served(
    node: DrivenNode, device: str
) -> None:
    before = world(node)

    @settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
    @given(data=st.data())
    def one(data: Any) -> None:
        item = item_of(f"bad-{next(NUMBERS)}", device, good_config(device))
        item["metadata"]["annotations"] = {"resource.kubernetes.io/pod-claim-name": "gpu"}
        part = data.draw(st.sampled_from(["status", "status", "annotations", "spec"]))
        if part == "annotations":
            item["metadata"]["annotations"] = data.draw(spoilt(item["metadata"]["annotations"]))
        else:
            item[part] = data.draw(spoilt(item.get(part, {})))
        answer = answered_beside_a_good_one(node, stored(node, item))
        event("refused" if answer.error else "prepared")

    one()

    assert_as_before(node, before)


def everything(node: DrivenNode) -> list[Path]:
    """All files, but for the list of last errors that every refusal is added to."""
    return sorted(path for path in node.folder.rglob("*") if path.name != "recent-errors.json")


@pytest.mark.parametrize("name", EVIL, ids=ascii)
@pytest.mark.parametrize("part", ["request", "pool", "device", "shareID"])
def test_a_name_in_an_allocation_leads_nowhere_else(node: DrivenNode, part: str, name: str) -> None:
    files, before = everything(node), world(node)
    item = item_of(f"evil-{next(NUMBERS)}", "gpu-3", None, **{part: name})

    answer = answered_beside_a_good_one(node, stored(node, item))

    # Of a request only what is before its slash is a name, and the id of a share is in no path.
    assert answer.error or part == "shareID" or (part, name) == ("request", "a/../../b")
    assert everything(node) == files
    assert_as_before(node, before)


@pytest.mark.parametrize("name", EVIL, ids=ascii)
def test_the_name_that_a_pod_has_for_a_claim_leads_nowhere_else(node: DrivenNode, name: str) -> None:
    files = everything(node)
    item = item_of(f"evil-{next(NUMBERS)}", "gpu-3", None)
    item["metadata"]["annotations"] = {"resource.kubernetes.io/pod-claim-name": name}

    answer = answered_beside_a_good_one(node, stored(node, item))

    assert answer.error
    assert everything(node) == files


@pytest.mark.parametrize("name", EVIL, ids=ascii)
@pytest.mark.parametrize("part", ["namespace", "name", "uid"])
def test_a_name_in_the_kubelets_call_leads_nowhere_else(node: DrivenNode, part: str, name: str) -> None:
    files = everything(node)
    known = stored(node, item_of(f"evil-{next(NUMBERS)}", "gpu-3", None))
    parts = {"namespace": known.namespace, "name": known.name, "uid": known.uid, part: name}
    good = node.claim(f"good-{next(NUMBERS)}", [BESIDE])
    evil = ClaimReference(parts["namespace"], parts["name"], ClaimUid(parts["uid"]))

    answer, other = node.prepare(evil, good)
    released = node.release(evil, good)

    assert answer.error
    assert [each.device for each in other.devices] == [BESIDE]
    assert released[1] == ""
    assert everything(node) == files


@pytest.mark.capability("000-20")
def test_devices_of_another_driver_in_the_claim_are_left_to_it(node: DrivenNode) -> None:
    before = world(node)
    item = item_of("mixed", PARTITION, good_config(PARTITION))
    foreign = {"driver": "nic.example.com", "pool": NODE, "device": "gpu-1"}
    devices = item["status"]["allocation"]["devices"]
    devices["results"] = [{"request": "nic", **foreign}, *devices["results"], {"request": "r0", **foreign}]
    devices["config"].append(
        {"source": "FromClaim", "opaque": {"driver": "nic.example.com", "parameters": {"any": ["thing"]}}}
    )
    claim = stored(node, item)

    (prepared,) = node.prepared(claim)
    node.released(claim)

    assert (prepared.requests, prepared.device) == (("r0",), PARTITION)
    assert_as_before(node, before)


def in_a_namespace_with_its_own(folder: Path, options: str) -> list[str]:
    """Compose the command that gives a program a small file system of its own in a folder."""
    script = 'mount -t tmpfs -o "$1" tmpfs "$2"; shift 2; exec "$@"'
    return ["unshare", "--mount", "--propagation", "private", "sh", "-ec", script, "sh", options, str(folder)]


def specs_as_seen_by(node: DrivenNode) -> list[str]:
    assert node.process is not None
    return sorted(os.listdir(f"/proc/{node.process.plugin_pid}/root{node.cdi_root}"))  # noqa: PTH208  by a magic link


@root
def test_a_full_cdi_folder_fails_the_claim_and_leaves_nothing_until_there_is_room() -> None:
    with DrivenNode("every-mode") as node:
        node.start("DynamicMIG=true", within=in_a_namespace_with_its_own(node.cdi_root, "size=16k"))
        node.wait_devices(lambda found: PARTITION in found)
        held = []
        for number in range(1, 8):
            claim = node.claim(f"c{number}", [f"gpu-{number}"])
            (answer,) = node.prepare(claim)
            if answer.error:
                break
            held.append(claim)
        full = answer.error
        specs, before = specs_as_seen_by(node), world(node)
        cut = node.claim("cut", [PARTITION])
        (refused,) = node.prepare(cut)
        after = specs_as_seen_by(node), world(node)
        for _ in range(2):  # the spec of a partition is longer
            node.released(held.pop())
        node.prepared(cut)
        for claim in (*held, cut):
            node.released(claim)

        for error in (full, refused.error):
            assert f"the disk of {node.cdi_root}" in error
            assert "is full: free some space there" in error
            assert len(error) < 800
        assert after == (specs, before), "a partition that was cut for nothing is gone again"
        assert specs_as_seen_by(node) == []


@root
def test_a_folder_without_room_for_metadata_is_an_error_until_there_is_room_or_the_claim_goes() -> None:
    with DrivenNode("every-mode") as node:
        gates = "DynamicMIG=true,PassthroughSupport=true,DeviceMetadata=true"
        # Two inodes: the folder itself and one file, of the two that a claim needs.
        node.start(gates, within=in_a_namespace_with_its_own(node.cdi_root, "size=64k,nr_inodes=2"))
        node.wait_devices(lambda found: PARTITION in found)
        before = world(node)
        claims = [node.claim("a", [PARTITION]), node.claim("b", ["gpu-vfio-3"])]
        for claim in claims:
            (answer,) = node.prepare(claim)
            node.released(claim)
            assert "No space left on device" in answer.error
            assert str(node.cdi_root) in answer.error
            assert (specs_as_seen_by(node), world(node)) == ([], before)


@root
def test_a_read_only_cdi_folder_fails_every_claim_until_it_can_be_written() -> None:
    with DrivenNode("every-mode") as node:
        node.start("DynamicMIG=true", within=in_a_namespace_with_its_own(node.cdi_root, "ro"))
        node.wait_devices(lambda found: PARTITION in found)
        before = world(node)
        claims = [node.claim("a", ["gpu-3"]), node.claim("b", [PARTITION])]
        answers = node.prepare(*claims)
        after = world(node)
        assert node.process is not None
        inside = ["nsenter", "--mount", "--target", str(node.process.plugin_pid)]
        subprocess.run([*inside, "mount", "-o", "remount,rw", str(node.cdi_root)], check=True, timeout=30)
        again = node.prepare(*claims)
        released = node.release(*claims)

        for answer in answers:
            assert "Read-only file system" in answer.error
            assert str(node.cdi_root) in answer.error
        assert after == before
        assert [answer.error for answer in again] == released == ["", ""]


def test_a_cdi_folder_that_is_removed_meanwhile_is_made_again(node: DrivenNode) -> None:
    shutil.rmtree(node.cdi_root)
    claim = node.claim("after", ["gpu-3"])

    devices = node.prepared(claim)

    assert node.edits(devices).device_nodes
    node.released(claim)
