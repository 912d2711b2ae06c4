"""The shipped JSON Schema of report.json."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from typing import Any

from jsonschema import Draft202012Validator


@cache
def report_schema() -> Mapping[str, Any]:
    """Return the schema."""
    text = (files("claimwright.conformance.evidence") / "report.schema.json").read_text(encoding="utf-8")
    schema: Mapping[str, Any] = json.loads(text)
    return schema


def schema_faults(report: object) -> list[str]:
    """Return every breach of the schema, with the path of the field."""
    validator = Draft202012Validator(report_schema())
    found = sorted(validator.iter_errors(report), key=lambda error: list(map(str, error.absolute_path)))
    return [
        f"report.json: {'.'.join(map(str, error.absolute_path)) or '(root)'}: {error.message}"
        for error in found
    ]
