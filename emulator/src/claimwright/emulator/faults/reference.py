"""The classes of faults as text and as data: what documentation and `--json` say of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from claimwright.emulator.model.faults import FAULTS, Fault, in_order, parameters_of

BEGIN, END = "<!-- faults: begin (generated) -->", "<!-- faults: end -->"


def class_record(kind: type[Fault]) -> Mapping[str, Any]:
    """Return one class as JSON."""
    return {
        "name": kind.name,
        "summary": kind.summary,
        "faces": kind.faces,
        "cured_by": list(in_order(kind.cured_by)),
        "parameters": [asdict(each) for each in parameters_of(kind)],
    }


def markdown() -> str:
    """Return the table of all classes for docs/fault-scripts.md."""
    lines = ["| class | parameters | what happens | where it shows | ended by |", "|---|---|---|---|---|"]
    for kind in FAULTS.values():
        parameters = ", ".join(
            f"`{each.name}`" if each.required else f"`[{each.name}]`" for each in parameters_of(kind)
        )
        cures = ", ".join(in_order(kind.cured_by)) or "repair"
        lines.append(f"| `{kind.name}` | {parameters or '-'} | {kind.summary} | {kind.faces} | {cures} |")
    return "\n".join(lines)


def with_table(text: str) -> str:
    """Return a document with the table between its marks made new."""
    head, _, rest = text.partition(BEGIN)
    _, _, tail = rest.partition(END)
    return f"{head}{BEGIN}\n\n{markdown()}\n\n{END}{tail}"
