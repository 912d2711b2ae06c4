"""The plugin's rights are what its source asks of the API server: nothing less, nothing more."""

from __future__ import annotations

import ast
import itertools
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from claimwright.dra import kube as api
from claimwright.driver import manifests

ROOT = Path(__file__).parents[2]
VERBS = {
    "get": ("get",), "list": ("list",), "create": ("create",), "replace": ("update",), "delete": ("delete",),
    "watch": ("watch",), "patch": ("patch",), "apply": ("patch",), "replace_status": ("status/update",),
}  # fmt: skip
# Functions that hand their resource on.
THROUGH = {"_listed": "list"}
# For a migration only; its page tells the administrator to give it, and to take it back.
BY_HAND = {("apps", "deployments", "delete")}
# They list once, and then watch.
CACHES = ("Reflector", "Live")
# Of the plugin kit, but only for controllers; a command that an administrator runs; and what runs as other accounts.
NOT_OF_THE_PLUGIN = ("leadership.py", "preflight", "computedomain")

Right = tuple[str, str, str]


def asked() -> set[Right]:
    """Group, resource and verb of each request that stands in the source."""
    folders = (ROOT / "driver/src/claimwright/driver", ROOT / "dra/src/claimwright/dra/plugin")
    paths = (path for folder in folders for path in folder.rglob("*.py") if "testing" not in path.parts)
    found: set[Right] = set()
    for path in paths:
        if not set(NOT_OF_THE_PLUGIN) & set(path.parts):
            found |= {right for node in ast.walk(ast.parse(path.read_text())) for right in _rights(node)}
    return found


def _rights(node: ast.AST) -> Iterator[Right]:
    if not isinstance(node, ast.Call):
        return
    # `kube.get(NODES, …)`, and `to_thread(kube.get, NODES, …)`.
    words = [node.func, *node.args]
    for called, resource in itertools.pairwise(words):
        if isinstance(called, ast.Attribute) and isinstance(resource, ast.Name) and resource.id.isupper():
            verb = called.attr if _is_kube(called.value) else THROUGH.get(called.attr)
            if verb is not None:
                yield from _of(resource.id, VERBS[verb])
    if isinstance(node.func, ast.Name) and node.func.id in CACHES:
        for argument in node.args:
            if isinstance(argument, ast.Name) and isinstance(getattr(api, argument.id, None), api.Resource):
                yield from _of(argument.id, ("list", "watch"))


def _is_kube(value: ast.expr) -> bool:
    name = value.attr if isinstance(value, ast.Attribute) else getattr(value, "id", "")
    return name.lstrip("_") == "kube"


def _of(constant: str, verbs: tuple[str, ...]) -> Iterator[Right]:
    resource = getattr(api, constant)
    for verb in verbs:
        subresource, _, last = verb.rpartition("/")
        yield resource.group, "/".join(filter(None, (resource.plural, subresource))), last


def granted() -> set[Right]:
    roles = (item for item in yaml.safe_load_all(manifests.render(["rbac"])) if "rules" in item)
    return {
        (group, resource, verb)
        for role in roles
        for rule in role["rules"]
        for group in rule["apiGroups"]
        for resource in rule["resources"]
        for verb in rule["verbs"]
    }


@pytest.mark.capability("002-17")
def test_every_right_is_used_and_every_request_has_its_right() -> None:
    assert granted() == asked() - BY_HAND
    page = (ROOT / "docs/migrate-from-the-community-driver.md").read_text()
    assert all(f"--verb={verb} --resource={resource}.{group}" in page for group, resource, verb in BY_HAND)


def test_no_rule_speaks_of_everything() -> None:
    assert not any("*" in right for right in granted())
