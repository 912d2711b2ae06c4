"""Numbers and words as the kernel reads them (lib/kstrtox.c, lib/string_helpers.c)."""

from __future__ import annotations

import errno
import re

from claimwright.emulator.errors import KernelRefused

_NUMBER = re.compile(r"\+?(0[xX][0-9a-fA-F]+|[0-9]+)\n?")
_HEX = re.compile(r"[ \t\n]*(0[xX])?([0-9a-fA-F]+)")
_TRUE, _FALSE = (
    ("y", "Y", "t", "T", "1", "on", "oN", "On", "ON"),
    ("n", "N", "f", "F", "0", "of", "oF", "Of", "OF"),
)


def unsigned(text: str, bits: int = 64) -> int:
    """Read a number as kstrtoul(…, 0) does: EINVAL for anything else, ERANGE beyond `bits`."""
    if not _NUMBER.fullmatch(text):
        raise KernelRefused(errno.EINVAL, f"{text!r} is no number")
    digits = text.strip().lstrip("+")
    octal = digits.startswith("0") and not digits.lower().startswith("0x")
    try:
        value = int(digits, 8 if octal else 0)
    except ValueError:
        raise KernelRefused(errno.EINVAL, f"{text!r} is no octal number") from None
    if value >= 1 << bits:
        raise KernelRefused(errno.ERANGE, f"{value} has more than {bits} bits")
    return value


def signed(text: str) -> int:
    """Read an `int` (kstrtoint)."""
    if text.startswith("-"):
        return -unsigned(text[1:] if text[1:2] != "+" else "?", 31)
    return unsigned(text, 31)


def boolean(text: str) -> bool:
    """Read a switch (kstrtobool): the first letter decides, and for `o` the second."""
    start = text[:2] if text[:1] in ("o", "O") else text[:1]
    if start in _TRUE:
        return True
    if start in _FALSE:
        return False
    raise KernelRefused(errno.EINVAL, f"{text!r} is neither y, 1, on nor n, 0, off")


def name(text: str) -> str:
    """Read a name that may end with one newline (sysfs_streq)."""
    return text.removesuffix("\n")


def hexadecimals(text: str, most: int) -> list[int]:
    """Read up to `most` hexadecimal numbers, as sscanf("%x %x …") does: it stops at what is none."""
    found: list[int] = []
    at = 0
    while len(found) < most and (number := _HEX.match(text, at)):
        found.append(int(number[2], 16))
        at = number.end()
    return found
