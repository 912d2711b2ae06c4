"""driver.yaml: what is refused, and how."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

import pytest

from claimwright.conformance.declaration import fill, load_declaration
from claimwright.conformance.errors import UsageError

DECLARATIONS = files("claimwright.conformance") / "declarations"
TEMPLATE = (DECLARATIONS / "template.yaml").read_text(encoding="utf-8")


def _write(folder: Path, text: str) -> Path:
    path = folder / "driver.yaml"
    path.write_text(text, encoding="utf-8")
    return path


@pytest.mark.parametrize("name", ["template.yaml", "reference.yaml"])
def test_the_shipped_declarations_are_sound(tmp_path, name):
    path = _write(tmp_path, (DECLARATIONS / name).read_text(encoding="utf-8"))
    assert load_declaration(path).spec.driver


@pytest.mark.parametrize(
    ("before", "after", "parts"),
    [
        (
            "supported: [sharedClaim]",
            "supported: [sharedClam]",
            ["spec.features.supported.0", "sharedClam", "sharedClaim"],
        ),
        ("hardware: emulated", "hardware: fake", ["spec.hardware", "'fake'", "emulated"]),
        ("  rpc: [v1", "  rcp: [v1", ["spec.rcp", "unknown key", "rpc"]),
        ("unsupported: [partitionable]", "unsupported: [sharedClaim]", ["features", "sharedClaim"]),
        ("node-name={node}", "node-name={nod}", ["spec.start.command", "{nod}", "{node}"]),
        ("start_s: 20", "start_s: -1", ["spec.budgets.start_s", "-1"]),
        ("driver: gpu.example.com  ", "driver: GPU_example", ["spec.driver", "GPU_example"]),
        ("kind: DriverUnderTest", "kind: Driver", ["kind", "'Driver'", "DriverUnderTest"]),
        ("  start:\n", "  started:\n", ["spec", "start"]),
        ("    attribute: uuid", "    attributes: uuid", ["spec.deviceIdentity.attribute", "required"]),
    ],
)
def test_a_mistake_is_named_with_its_line_and_what_is_allowed(tmp_path, before, after, parts):
    assert before in TEMPLATE
    path = _write(tmp_path, TEMPLATE.replace(before, after, 1))
    with pytest.raises(UsageError) as raised:
        load_declaration(path)
    message = str(raised.value)
    assert f"{path}:" in message
    assert all(part in message for part in parts), message


def test_the_line_is_the_one_of_the_field(tmp_path):
    text = TEMPLATE.replace("hardware: emulated", "hardware: fake")
    line = next(number for number, one in enumerate(text.splitlines(), 1) if "hardware: fake" in one)
    with pytest.raises(UsageError, match=f"driver.yaml:{line}: spec.hardware"):
        load_declaration(_write(tmp_path, text))


@pytest.mark.parametrize("text", ["", "[]", "a: [", "\0", "just words", "a: b: c"])
def test_rubbish_is_one_clear_error(tmp_path, text):
    with pytest.raises(UsageError, match=r"driver\.yaml"):
        load_declaration(_write(tmp_path, text))


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(UsageError, match=r"none\.yaml"):
        load_declaration(tmp_path / "none.yaml")


def test_placeholders_are_filled_and_plain_braces_stay():
    assert fill('{{"a": {node}}} {env:HOME}', {"node": "n1"}, environment={"HOME": "/h"}) == '{"a": n1} /h'


def test_an_unset_variable_is_named():
    with pytest.raises(UsageError, match="CW_UNSET"):
        fill("{env:CW_UNSET}", {}, environment={})
