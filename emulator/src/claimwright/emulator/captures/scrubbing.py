"""Replaces what identifies a machine, by numbers in order of appearance: the same input gives the same output.

Equal identifiers stay equal, so that GPUs that share a carrier still share a serial number, and different ones stay
different.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace

from claimwright.emulator.captures.capture import Capture

_ZERO = "00000000-0000-0000-0000-000000000000"
_UUID = re.compile(r"[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
_GUID = re.compile(r"[0-9a-f]{4}(?::[0-9a-f]{4}){3}")
_MAC = re.compile(r"[0-9a-f]{2}(?::[0-9a-f]{2}){5}")

_NUMBERED: tuple[tuple[re.Pattern[str], Callable[[int], str]], ...] = (
    (re.compile(r"(.*\.)?chassis_serial"), lambda number: f"182{number:010d}"),
    (re.compile(r"(.*\.)?serial"), lambda number: f"165{number:010d}"),
    (re.compile(r"(.*\.)?(pdi|fabric_guid)"), lambda number: f"0x{number:016x}"),
    (re.compile(r"(.*\.)?hostname"), lambda number: f"host-{number}"),
)


def scrub(capture: Capture) -> Capture:
    """Return the capture without identifiers; a scrubbed capture stays as it is."""
    scrubber = _Scrubber()
    ordered = sorted(capture.leaves)
    return replace(capture, leaves={path: scrubber.leaf(path, capture.leaves[path]) for path in ordered})


class _Scrubber:
    def __init__(self) -> None:
        self._known: dict[tuple[str, str], int] = {}

    def leaf(self, path: str, value: str) -> str:
        for pattern, written in _NUMBERED:
            if pattern.fullmatch(path):
                return value and written(self._number(pattern.pattern, value))
        kind = path.rpartition(".")[2]
        value = _UUID.sub(lambda found: self._uuid(kind, found[0]), value)
        value = _GUID.sub(lambda found: self._hex("guid", found[0], 16, 4), value)
        return _MAC.sub(lambda found: self._hex("mac", found[0], 12, 2), value)

    def _uuid(self, kind: str, value: str) -> str:
        if value == _ZERO:
            return value
        number = self._number(kind, value.lower())
        return f"{number:08x}-0000-0000-0000-{number:012x}"

    def _hex(self, kind: str, value: str, digits: int, group: int) -> str:
        written = f"{self._number(kind, value):0{digits}x}"
        return ":".join(written[at : at + group] for at in range(0, digits, group))

    def _number(self, kind: str, value: str) -> int:
        return self._known.setdefault((kind, value), 1 + sum(known == kind for known, _ in self._known))
