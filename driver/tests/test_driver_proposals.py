"""`claimwright driver inventory`: what is proposed for the GPUs found, and that an API server takes it."""

from __future__ import annotations

import json
import os
import re
import uuid
from pathlib import Path
from typing import Any

import pytest
import yaml

from claimwright.dra.kube import DEVICE_CLASSES, NAMESPACES, RESOURCE_CLAIM_TEMPLATES, Kube
from claimwright.driver import proposals
from claimwright.driver.configs import decode
from claimwright.driver.feature_gates import FeatureGates
from claimwright.driver.inventory import Inventory, discover
from claimwright.driver.ports import ComputeInstance, GpuReading, MigReading, Partition
from claimwright.driver.repertoire import recipes
from claimwright.driver.stock import Stock
from claimwright.driver.testing import MemoryNvml, gpu_reading, h100_profiles, hgx_h100_host

ALL = FeatureGates.parse("AllAlpha=true")
KINDS = {"DeviceClass": DEVICE_CLASSES, "ResourceClaimTemplate": RESOURCE_CLAIM_TEMPLATES}


def found(*gpus: GpuReading) -> Inventory:
    return discover(MemoryNvml(gpus), hgx_h100_host())


@pytest.fixture
def mixed() -> Inventory:
    """Two cuttable H100s, and one GPU with a name that is hard to spell."""
    mig = MigReading(enabled=False, pending=False, profiles=h100_profiles())
    odd = gpu_reading(2, name="NVIDIA 'Odd\\' Board " + "with a very long name " * 4, architecture=8)
    return found(gpu_reading(0, mig=mig), gpu_reading(1, mig=mig), odd)


@pytest.mark.capability("003-27")
def test_every_device_that_could_be_offered_is_in_a_proposal(mixed: Inventory) -> None:
    offered = set(Stock(recipes(ALL), mixed).offers)
    proposed = proposals.propose(mixed, recipes)

    assert {device for each in proposed for device in each.devices} == offered
    assert {each.mode for each in proposed} >= {"gpu", "mig", "time-slicing", "mps", "share"}


def test_gates_are_named_where_the_plugin_needs_one(mixed: Inventory) -> None:
    gates = {each.mode: each.gate for each in proposals.propose(mixed, recipes)}

    assert gates["gpu"] is None
    assert gates["mig"] == "DynamicMIG"
    assert (gates["time-slicing"], gates["mps"]) == ("TimeSlicingSettings", "MPSSupport")


def test_what_is_proposed_is_named_by_the_rules_and_once(mixed: Inventory) -> None:
    items = proposals.objects_of(proposals.propose(mixed, recipes))
    names = [(item["kind"], item["metadata"]["name"]) for item in items]

    assert len(set(names)) == len(names)
    for kind, name in names:
        assert re.fullmatch(r"[a-z0-9]([a-z0-9.-]*[a-z0-9])?", name)
        assert len(name) <= (253 if kind == "DeviceClass" else 63)


def test_templates_name_classes_that_are_proposed_and_configs_that_the_driver_takes(mixed: Inventory) -> None:
    items = proposals.objects_of(proposals.propose(mixed, recipes))
    classes = {item["metadata"]["name"] for item in items if item["kind"] == "DeviceClass"}
    templates = [item["spec"]["spec"]["devices"] for item in items if item["kind"] == "ResourceClaimTemplate"]

    for devices in templates:
        assert devices["requests"][0]["exactly"]["deviceClassName"] in classes
        for config in devices.get("config", ()):
            decode(config["opaque"]["parameters"]).check(ALL)


def test_yaml_and_json_say_the_same(mixed: Inventory) -> None:
    proposed = proposals.propose(mixed, recipes)
    text = proposals.as_yaml(mixed, proposed, namespace="team-a")
    listed = json.loads(proposals.as_json(mixed, proposed, namespace="team-a"))["proposals"]

    from_json: list[Any] = [item for each in listed for item in each["objects"]]
    from_yaml = list(yaml.safe_load_all(text))
    assert all(item in from_json for item in from_yaml)
    assert all(item in from_yaml for item in from_json)
    assert {item["metadata"].get("namespace", "team-a") for item in from_yaml} == {"team-a"}


def test_partitions_of_an_administrator_need_no_gate() -> None:
    profiles = h100_profiles()
    made = Partition(1, profiles[0].profile_id, profiles[0].placements[0], (ComputeInstance(0, "MIG-1"),))
    mig = MigReading(enabled=True, pending=True, profiles=profiles, partitions=(made,))
    proposed = proposals.propose(found(gpu_reading(0, mig=mig)), recipes)

    (static,) = (each for each in proposed if each.gate is None)
    assert (static.mode, static.selects["profile"]) == ("mig", profiles[0].name)


def test_a_share_asks_for_a_part_of_the_memory_and_names_the_flag_it_needs() -> None:
    inventory = found(gpu_reading(0))
    (share,) = (each for each in proposals.propose(inventory, recipes) if each.mode == "share")
    template = proposals.objects_of([share])[-1]["spec"]["spec"]["devices"]["requests"][0]["exactly"]

    assert template["capacity"] == {"requests": {"memory": "19Gi"}}
    assert "--feature-gates ConsumableShares=true --consumable-shares memory" in proposals.as_yaml(
        inventory, [share], namespace=None
    )


def test_a_node_without_gpus_is_told_so() -> None:
    inventory = found()

    assert proposals.propose(inventory, recipes) == ()
    assert "Nothing to propose" in proposals.as_yaml(inventory, (), namespace=None)


@pytest.mark.contract
@pytest.mark.capability("003-27")
def test_a_real_api_server_takes_all_that_is_proposed(mixed: Inventory) -> None:
    given = os.environ.get("CLAIMWRIGHT_TEST_KUBECONFIG")
    if not given:
        pytest.skip("CLAIMWRIGHT_TEST_KUBECONFIG names no API server")
    kube = Kube.from_kubeconfig(Path(given))
    namespace = f"proposals-{uuid.uuid4().hex[:8]}"
    kube.create(NAMESPACES, {"metadata": {"name": namespace}})
    try:
        proposed = proposals.propose(mixed, recipes)
        for item in yaml.safe_load_all(proposals.as_yaml(mixed, proposed, namespace=namespace)):
            if item["kind"] == "DeviceClass":
                item["metadata"]["name"] += f".{namespace}"  # dry runs collide with what is there
            stored = kube.create(KINDS[item["kind"]], item, dry_run=True)
            assert stored["metadata"]["name"] == item["metadata"]["name"]
    finally:
        kube.delete(NAMESPACES, namespace)
