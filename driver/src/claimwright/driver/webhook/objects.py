"""Where the opaque configs stand in the objects that carry them.

The places are the same in resource.k8s.io v1, v1beta2 and v1beta1; the versions differ in requests only.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from claimwright.driver.configs import DRIVERS
from claimwright.driver.quoting import shown

GROUP: Final = "resource.k8s.io"
VERSIONS: Final = ("v1", "v1beta2", "v1beta1")
PLACES: Final[Mapping[str, tuple[str, ...]]] = {
    "resourceclaims": ("spec", "devices", "config"),
    "resourceclaimtemplates": ("spec", "spec", "devices", "config"),
    "deviceclasses": ("spec", "config"),
}


class MalformedObject(ValueError):
    """The object has not the shape of its kind; the message names field, value and what was expected."""


@dataclass(frozen=True)
class WrittenConfig:
    """A config of one of this project's drivers as it stands in an object; `path` names its parameters."""

    path: str
    driver: str
    parameters: Any

    def same_as(self, other: WrittenConfig) -> bool:
        """Tell whether both say the same, wherever they stand."""
        return (self.driver, self.parameters) == (other.driver, other.parameters)


def configs_in(plural: str, item: object) -> tuple[WrittenConfig, ...]:
    """Return the configs in an object of kind `plural`, one of PLACES; MalformedObject when it is none."""
    return tuple(_written(plural, item))


def _written(plural: str, item: object) -> Iterator[WrittenConfig]:
    *parents, last = PLACES[plural]
    block, path = _mapping(item, "object"), ""
    for name in parents:
        path = f"{path}.{name}".lstrip(".")
        block = _mapping(block.get(name), path)
    path = f"{path}.{last}"
    entries = block.get(last)
    if entries is not None and not isinstance(entries, list):
        raise MalformedObject(f"{path} is {shown(entries)}, expected a list")
    for index, entry in enumerate(entries or ()):
        opaque_path = f"{path}[{index}].opaque"
        opaque = _mapping(_mapping(entry, f"{path}[{index}]").get("opaque"), opaque_path)
        if opaque.get("driver") in DRIVERS:
            yield WrittenConfig(f"{opaque_path}.parameters", opaque["driver"], opaque.get("parameters"))


def _mapping(value: object, path: str) -> Mapping[str, Any]:
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        raise MalformedObject(f"{path} is {shown(value)}, expected an object")
    return value
