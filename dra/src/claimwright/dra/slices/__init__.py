"""ResourceSlices as values: devices, pools, their limits, and how a pool is cut into slices."""

from claimwright.dra.slices.classes import DeviceClass
from claimwright.dra.slices.comparison import differences, keep_times_added, normal
from claimwright.dra.slices.devices import (
    Attribute,
    AttributeValue,
    Capacity,
    CounterConsumption,
    CounterSet,
    Device,
    RequestPolicy,
    Taint,
    TaintEffect,
    ValidRange,
    Version,
    attribute_object,
)
from claimwright.dra.slices.leaves import share_leaves
from claimwright.dra.slices.limits import InvalidSlice, Violation, violations
from claimwright.dra.slices.planning import (
    CounterLayout,
    NodeOwner,
    Pool,
    generate_name,
    index_of,
    plan_slices,
)
from claimwright.dra.slices.reading import MalformedSlice, Slice, attribute_of

__all__ = [
    "Attribute",
    "AttributeValue",
    "Capacity",
    "CounterConsumption",
    "CounterLayout",
    "CounterSet",
    "Device",
    "DeviceClass",
    "InvalidSlice",
    "MalformedSlice",
    "NodeOwner",
    "Pool",
    "RequestPolicy",
    "Slice",
    "Taint",
    "TaintEffect",
    "ValidRange",
    "Version",
    "Violation",
    "attribute_object",
    "attribute_of",
    "differences",
    "generate_name",
    "index_of",
    "keep_times_added",
    "normal",
    "plan_slices",
    "share_leaves",
    "violations",
]
