"""Container Device Interface specs: write them as a driver does, resolve them as a container runtime does."""

from claimwright.dra.cdi.document import MalformedSpec, spec_from_object, spec_to_object
from claimwright.dra.cdi.folders import Registry, load_spec, load_specs, remove_spec, spec_path, write_spec
from claimwright.dra.cdi.specs import (
    CdiDevice,
    CdiError,
    CdiSpec,
    ContainerEdits,
    DeviceNode,
    Hook,
    IntelRdt,
    Mount,
    NetDevice,
    UnresolvableDevice,
    qualified_name,
    split_qualified_name,
)
from claimwright.dra.cdi.validation import InvalidSpec, minimum_version, validate

__all__ = [
    "CdiDevice",
    "CdiError",
    "CdiSpec",
    "ContainerEdits",
    "DeviceNode",
    "Hook",
    "IntelRdt",
    "InvalidSpec",
    "MalformedSpec",
    "Mount",
    "NetDevice",
    "Registry",
    "UnresolvableDevice",
    "load_spec",
    "load_specs",
    "minimum_version",
    "qualified_name",
    "remove_spec",
    "spec_from_object",
    "spec_path",
    "spec_to_object",
    "split_qualified_name",
    "validate",
    "write_spec",
]
