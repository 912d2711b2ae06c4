"""The checkpoint's checksums, over the bytes that are stored.

Kubernetes' checkpoint manager hashes with FNV-1a (32 bits) what Go prints for the byte slice of the JSON text:
`([]uint8)[123 34 ...]`. The outer sum covers the document with `v2` left out and itself as 0, the inner one the object
`v2` with itself as 0. The community driver encodes the file anew before it compares, which fails when its own release
spells a field otherwise (`mpsControlDaemonID` was always written by some and left out by others); members are cut out
of the stored text here, so that every spelling counts as it was summed.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any, Final

from claimwright.driver.errors import DriverError

_OFFSET: Final = 2166136261
_PRIME: Final = 16777619


class CorruptCheckpoint(DriverError):
    """The community driver's checkpoint cannot be trusted; set it aside and rebuild from the world."""


def checksum(text: bytes) -> int:
    """Return the sum of a JSON text; `{"checksum":0}` has 4166374854."""
    value = _OFFSET
    for byte in b"([]uint8)[%s]" % b" ".join(b"%d" % byte for byte in text):
        value = ((value ^ byte) * _PRIME) & 0xFFFFFFFF
    return value


def verify(text: str) -> dict[str, Any]:
    """Return the decoded document; CorruptCheckpoint says which sum does not hold."""
    outer = _members(text, "the checkpoint")
    _compare("checksum", outer, leave_out="v2")
    inner = outer.get("v2", "null")
    if inner != "null":
        _compare("v2.checksum", _members(inner, "v2"))
    document: dict[str, Any] = json.loads(text)
    return document


def _compare(name: str, members: Mapping[str, str], *, leave_out: str = "") -> None:
    stored = members.get("checksum", "")
    if not (stored.isascii() and stored.isdecimal()):
        raise CorruptCheckpoint(f"{name} is {stored[:40] or 'missing'}, expected a number")
    kept = {**{key: raw for key, raw in members.items() if key != leave_out}, "checksum": "0"}
    summed = checksum(
        ("{" + ",".join(f"{json.dumps(key)}:{raw}" for key, raw in kept.items()) + "}").encode()
    )
    if summed != int(stored):
        raise CorruptCheckpoint(f"{name} is {stored}, but the stored bytes have {summed}")


def _members(text: str, what: str) -> dict[str, str]:
    """Return the members of a JSON object by key, each as it is spelled."""
    try:
        found = dict(_spelled(text))
    except (ValueError, IndexError) as error:
        raise CorruptCheckpoint(f"{what} is no JSON object: {error}") from error
    return found


def _spelled(text: str) -> Iterator[tuple[str, str]]:
    decoder = json.JSONDecoder()
    json.loads(text)  # what follows takes it for granted that all of it is JSON
    if not text.lstrip().startswith("{"):
        raise ValueError(f"it begins with {text[:20]!r}")
    at = _skip(text, text.index("{") + 1)
    while text[at] != "}":
        key, at = decoder.raw_decode(text, at)
        at = _skip(text, _skip(text, at) + 1)
        _, end = decoder.raw_decode(text, at)
        yield key, text[at:end]
        at = _skip(text, end)
        at = _skip(text, at + 1) if text[at] == "," else at


def _skip(text: str, at: int) -> int:
    while text[at] in " \t\r\n":
        at += 1
    return at
