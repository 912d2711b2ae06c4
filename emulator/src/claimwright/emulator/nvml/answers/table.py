"""All answers by function name."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache
from importlib import import_module
from typing import Any

Answer = Callable[..., Any]

SUBJECTS = (  # modules of this package
    "accounting",
    "clock_settings",
    "confidential",
    "cooling",
    "drain",
    "facts",
    "licensing",
    "link_counters",
    "links",
    "metrics",
    "platform",
    "power_profiles",
    "private",
    "compute_instances",
    "gpu_instance_vgpus",
    "mig",
    "mig_devices",
    "retirement",
    "samples",
    "vgpu_activity",
    "vgpu_hosts",
    "vgpu_instances",
    "vgpu_migration",
    "vgpu_scheduling",
    "vgpu_types",
)


@cache
def answers() -> Mapping[str, Answer]:
    """Return every subject's answers; a function may be answered by one subject only."""
    found: dict[str, Answer] = {}
    for subject in SUBJECTS:
        table: Mapping[str, Answer] = import_module(f"{__package__}.{subject}").ANSWERS
        twice = found.keys() & table.keys()
        assert not twice, f"answered twice: {', '.join(sorted(twice))}"
        found |= table
    return found


@cache
def fixed_answers() -> frozenset[str]:
    """Return the functions whose answer no state and no board changes: each subject's `FIXED`, where it has one."""
    found: frozenset[str] = frozenset()
    for subject in SUBJECTS:
        found |= getattr(import_module(f"{__package__}.{subject}"), "FIXED", frozenset())
    return found
