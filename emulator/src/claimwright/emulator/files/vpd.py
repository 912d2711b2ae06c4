"""Vital product data of a PCI function, as the kernel hands out (PCI Local Bus 3.0, appendix I)."""

from __future__ import annotations

import struct

_IDENTIFIER, _READ_ONLY, _END = 0x82, 0x90, 0x78


def vpd(product: str, marker: str) -> bytes:
    """Return VPD that names a product and carries a marker in its vendor-specific keyword V1.

    Bridge ConnectX adapters of NVLink 5 machines say `SW_MNG` there; drivers look for these bytes alone.
    """
    fields = _keyword("PN", b"EMULATED") + _keyword("V1", marker.encode())
    head = _resource(_IDENTIFIER, product.encode())
    checked = head + struct.pack("<BH", _READ_ONLY, len(fields) + 4) + fields + b"RV\x01"
    return checked + bytes([-sum(checked) & 0xFF, _END])


def _keyword(name: str, value: bytes) -> bytes:
    return name.encode() + bytes([len(value)]) + value


def _resource(tag: int, value: bytes) -> bytes:
    return struct.pack("<BH", tag, len(value)) + value
