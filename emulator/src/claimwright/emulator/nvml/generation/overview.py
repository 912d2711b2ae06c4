"""docs/nvml-functions.md: how many functions the library exports and answers, and each of them by name."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping

from claimwright.emulator.nvml.generation.behaviour import Answered, Way

_FAMILIES = {
    "GPU instances": re.compile(r"GpuInstance"),
    "compute instances": re.compile(r"ComputeInstance"),
    "vGPU": re.compile(r"vgpu", re.IGNORECASE),
    "NVLink": re.compile(r"nvlink", re.IGNORECASE),
    "events": re.compile(r"Event(Set|s\b|Types)"),
    "units (S-class chassis)": re.compile(r"nvmlUnit"),
}


def overview(
    version: str,
    answered: Mapping[str, Answered],
    bare: Iterable[str],
    consumers: Mapping[str, frozenset[str]],
) -> Iterator[str]:
    """Yield the page's lines; `answered` holds the header's functions, `bare` the further names."""
    yield from _head(version, answered, len(tuple(bare)))
    yield from _families(answered)
    yield from _consumers(answered, consumers)
    yield from _table(answered, consumers)


def in_family(family: str, names: Iterable[str]) -> tuple[str, ...]:
    """Return the names of a family of the page."""
    return tuple(name for name in names if _FAMILIES[family].search(name))


def _head(version: str, answered: Mapping[str, Answered], bare: int) -> Iterator[str]:
    behaving = sum(each.behaves for each in answered.values())
    fixed = sum(each.way is Way.FIXED for each in answered.values())
    nothing = sum(each.way is Way.NOTHING for each in answered.values())
    yield f"""# NVML functions of an emulated node

Generated from nvml.h {version} and from the sources by `python -m claimwright.emulator.nvml.generate`; a test fails
when it is not true any more. How to add one: [add-an-nvml-function.md](add-an-nvml-function.md).

| | functions |
|---|---|
| declared by nvml.h | {len(answered)} |
| exported with them: bare names that nvml.h turns into versioned ones | {bare} |
| **with behaviour**: the answer depends on the node's state or on the board, NOT_SUPPORTED included | **{behaving}** |
| always the same: no emulated board or state changes it | {fixed} |
| not supported: the arguments are checked, then NOT_SUPPORTED | {nothing} |
"""


def _families(answered: Mapping[str, Answered]) -> Iterator[str]:
    yield from ("| family | with behaviour | of |", "|---|---|---|")
    for family in _FAMILIES:
        names = in_family(family, answered)
        yield f"| {family} | {sum(answered[name].behaves for name in names)} | {len(names)} |"
    yield ""


def _consumers(answered: Mapping[str, Answered], consumers: Mapping[str, frozenset[str]]) -> Iterator[str]:
    yield """## What programs call

Always the same are answers that hold for every Linux machine or every board that we have, such as the driver model of
Windows.

| program | calls | with behaviour | always the same | not supported |
|---|---|---|---|---|"""
    for consumer, names in consumers.items():
        behaving = sum(answered[name].behaves for name in names)
        fixed = [name for name in sorted(names) if answered[name].way is Way.FIXED]
        listed = ", ".join(f"`{name.removeprefix('nvml')}`" for name in fixed)
        nothing = len(names) - behaving - len(fixed)
        yield f"| {consumer} | {len(names)} | {behaving} | {len(fixed)}{': ' if fixed else ''}{listed} | {nothing} |"
    yield ""


def _table(answered: Mapping[str, Answered], consumers: Mapping[str, frozenset[str]]) -> Iterator[str]:
    yield """## All functions

*library*: C code answers from the shared pages. *node*: the node's process answers from its model, in one exchange over
its socket. *library, node*: the pages tell of a GPU, the node of a MIG device.

| function | answered by | where | called by |
|---|---|---|---|"""
    for name, each in sorted(answered.items()):
        callers = ", ".join(consumer for consumer, names in consumers.items() if name in names)
        yield f"| `{name}` | {each.way} | {each.where} | {callers} |"
