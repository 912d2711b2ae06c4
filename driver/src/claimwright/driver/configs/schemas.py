"""JSON Schemas of the opaque configs, for editors and for checks before a cluster sees a manifest.

A schema says what each field may be. What depends on two fields or on the driver's feature gates is checked by the
webhook and at prepare only.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Final

from claimwright.dra.files import write_atomically
from claimwright.driver.configs.decoding import Config
from claimwright.driver.configs.kinds import KINDS

DIALECT: Final = "https://json-schema.org/draft/2020-12/schema"


def schema_of(kind: type[Config]) -> dict[str, Any]:
    """Return the JSON Schema of one kind, apiVersion and kind included; unknown fields are not allowed."""
    schema = kind.model_json_schema(by_alias=True)
    for block in (schema, *schema.get("$defs", {}).values()):
        _tidy(block)
    identity = {"apiVersion": {"const": kind.api_version}, "kind": {"const": kind.__name__}}
    return {
        "$schema": DIALECT,
        **schema,
        "properties": {**identity, **schema["properties"]},
        "required": [*identity, *schema.get("required", ())],
    }


def _tidy(block: dict[str, Any]) -> None:
    """Allow known fields only, and say of a field what a reader needs: an empty default is none at all."""
    block["additionalProperties"] = False
    properties: dict[str, dict[str, Any]] = block["properties"]
    needed = [name for name, field in properties.items() if field.get("default") == ""]
    if needed:
        block["required"] = needed
    for name, field in properties.items():
        field.pop("title", None)
        if name in needed or field.get("default") is None:
            field.pop("default", None)


def text_of(kind: type[Config]) -> str:
    """Return the schema as its file has it."""
    return json.dumps(schema_of(kind), indent=2, ensure_ascii=False) + "\n"


def write(folder: Path) -> tuple[Path, ...]:
    """Write one file per kind; return those that changed."""
    changed = stale(folder)
    folder.mkdir(parents=True, exist_ok=True)
    for path in changed:
        write_atomically(path, text_of(KINDS[path.stem]), durable=False)
    return changed


def stale(folder: Path) -> tuple[Path, ...]:
    """Return the files in `folder` that are missing or do not say what the driver takes."""
    files = {folder / f"{name}.json": kind for name, kind in KINDS.items()}
    return tuple(
        path
        for path, kind in files.items()
        if not path.is_file() or path.read_text(encoding="utf-8") != text_of(kind)
    )
