"""The controller's rights in the chart are what it asks of the API server: nothing less, nothing more."""

from __future__ import annotations

import asyncio
import re
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
import yaml

from claimwright.dra.kube import DAEMON_SETS, EVENTS, PODS, RESOURCE_CLAIM_TEMPLATES
from claimwright.dra.testing import FakeApi
from claimwright.driver.computedomain.controller import Controller, Election, ElectionSettings
from claimwright.driver.computedomain.resources import CLIQUES, COMPUTE_DOMAINS, DOMAIN, daemon_name
from claimwright.driver.testing.domains import (
    FABRIC,
    NAMESPACE,
    controller_settings,
    put_daemon,
    put_domain,
    put_rows,
)

TEMPLATE = Path(__file__).parents[1] / "chart/templates/rbac-computedomains.yaml"
PATH = re.compile(
    r"/(?:api/v1|apis/(?P<group>[^/]+)/[^/]+)(?:/namespaces/[^/]+(?=/))?/(?P<plural>[^/]+)"
    r"(?:/(?P<name>[^/]+))?(?:/(?P<sub>[^/]+))?"
)
VERBS = {"POST": "create", "PUT": "update", "PATCH": "patch", "DELETE": "delete"}
Right = tuple[str, str, str]


def granted() -> set[Right]:
    """Read the rules as they stand in the template: what helm decides there is names and whole objects."""
    lines = [
        line for line in TEMPLATE.read_text().splitlines() if not re.fullmatch(r"\s*\{\{.*\}\}\s*", line)
    ]
    text = re.sub(r"\{\{.*?\}\}", "x", "\n".join(lines))
    roles = [item for item in yaml.safe_load_all(text) if item and "rules" in item]
    mine = [item for item in roles if item["metadata"]["name"].endswith("role-controller")]
    assert len(mine) == 2
    return {
        (group, resource, verb)
        for role in mine
        for rule in role["rules"]
        for group in rule["apiGroups"]
        for resource in rule["resources"]
        for verb in rule["verbs"]
    }


def right(method: str, target: str) -> Right:
    """Return what the API server would look up for a request."""
    parts = urlsplit(target)
    found = PATH.fullmatch(parts.path)
    assert found is not None
    watches = "watch" in parse_qs(parts.query)
    verb = VERBS.get(method) or ("watch" if watches else "get" if found["name"] else "list")
    return found["group"] or "", "/".join(filter(None, (found["plural"], found["sub"]))), verb


def wait(fact: Callable[[], object]) -> None:
    deadline, pause = time.monotonic() + 20, threading.Event()
    while not fact():
        assert time.monotonic() < deadline, "the fact did not come true in time"
        pause.wait(0.01)


@pytest.fixture
def api() -> Iterator[FakeApi]:
    with FakeApi() as running:
        yield running


@pytest.mark.capability("002-17")
def test_every_right_is_used_and_every_request_has_its_right(api: FakeApi) -> None:
    live(api)
    asyncio.run(elect(api))

    assert {right(*request) for request in api.requests} == granted()


def live(api: FakeApi) -> None:
    """Have a controller do all that there is to do."""
    kube, settings = api.kube(), controller_settings()

    def status() -> str:
        (found,) = api.objects(COMPUTE_DOMAINS)
        return str((found.get("status") or {}).get("status"))

    uid = put_domain(api)
    foreign: list[Any] = [
        (RESOURCE_CLAIM_TEMPLATES, "channel", "team"),
        (DAEMON_SETS, daemon_name(uid), NAMESPACE),
    ]
    for resource, name, namespace in foreign:
        api.put(resource, {"metadata": {"name": name, "namespace": namespace}, "spec": {}})
    controller = Controller(kube, settings)
    controller.start()
    for resource, name, namespace in reversed(foreign):
        wait(lambda name=name: any(name in event["note"] for event in api.objects(EVENTS)))
        api.remove(resource, name, namespace=namespace)
    wait(lambda: status() == "Ready")
    controller.stop()

    controller = Controller(kube, controller_settings(image_name="driver:2"))
    controller.start()
    for node in ("n1", "n2"):
        put_daemon(api, uid, node, clique=FABRIC)
    put_rows(api, uid, "n1", "n2")
    wait(lambda: len(api.objects(COMPUTE_DOMAINS)[0]["status"]["nodes"]) == 2)
    api.remove(PODS, "daemon-n1", namespace=NAMESPACE)
    wait(lambda: len(api.objects(CLIQUES)[0]["daemons"]) == 1)
    api.remove(PODS, "daemon-n2", namespace=NAMESPACE)
    # Not ours: whoever holds a clique by our finalizer lets it go through us.
    (clique,) = api.objects(CLIQUES)
    api.put(CLIQUES, {**clique, "metadata": {**clique["metadata"], "finalizers": [DOMAIN]}})
    api.remove(COMPUTE_DOMAINS, "a", namespace="team")
    wait(lambda: not api.objects(COMPUTE_DOMAINS) and not api.objects(CLIQUES))
    controller.stop()


async def elect(api: FakeApi) -> None:
    election = Election(api.kube(), ElectionSettings(NAMESPACE, "lease"), "one")
    await election.lead()
    await election.resign()
