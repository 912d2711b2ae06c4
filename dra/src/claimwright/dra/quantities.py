"""Kubernetes quantities: exact parsing and the canonical form.

Grammar and canonical form as documented in k8s.io/apimachinery `pkg/api/resource`: `80Gi`, `1500m`, `2e3`.
Values are exact decimals; what is finer than nano is rounded away from zero, and magnitudes above 2^63-1 are
capped.
"""

from __future__ import annotations

import functools
import re
from dataclasses import dataclass
from decimal import ROUND_UP, Context, Decimal
from typing import Final, Literal

from claimwright.dra.errors import InvalidValue

Style = Literal["BinarySI", "DecimalSI", "DecimalExponent"]

_BINARY: Final = {
    suffix: 1024**power for power, suffix in enumerate(("Ki", "Mi", "Gi", "Ti", "Pi", "Ei"), start=1)
}
_DECIMAL: Final = {"n": -9, "u": -6, "m": -3, "": 0, "k": 3, "M": 6, "G": 9, "T": 12, "P": 15, "E": 18}
_SUFFIX_OF: Final = {exponent: suffix for suffix, exponent in _DECIMAL.items()}
_LIMIT: Final = Decimal(2**63 - 1)
_NANO: Final = Decimal("1e-9")
_EXACT: Final = Context(prec=2000, Emin=-999999, Emax=999999)
_TEXT: Final = re.compile(
    r"(?P<number>[+-]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+))"
    r"(?:(?P<suffix>[KMGTPE]i|[numkMGTPE]?)|[eE](?P<exponent>[+-]?[0-9]{1,4}))",
    re.ASCII,
)
_LONGEST: Final = 256
# A node has thousands of amounts and some dozens of different ones; equal ones share one object.
_KEPT: Final = 1024


class MalformedQuantity(InvalidValue):
    """Text that is no Kubernetes quantity."""


@dataclass(frozen=True, slots=True)
class Quantity:
    """An exact amount and the style that it is written in; equal amounts are equal in any style."""

    value: Decimal
    style: Style = "DecimalSI"

    @staticmethod
    def parse(text: str) -> Quantity:
        """Read a quantity such as `80Gi`; raises MalformedQuantity."""
        return _parsed(text)

    @staticmethod
    def of_bytes(count: int) -> Quantity:
        """Give a memory size, written with binary suffixes."""
        return _bytes(count)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Quantity) and self.value == other.value

    def __hash__(self) -> int:
        return hash(self.value)

    def __int__(self) -> int:
        """Round up, as the Kubernetes `Value()` does: a request is never made smaller."""
        return int(self.value.to_integral_value(ROUND_UP))

    def __str__(self) -> str:
        return format_quantity(self.value, self.style)


def parse_quantity(text: str) -> Decimal:
    """Give the exact value of `text` (`80Gi` is 85899345920); raises MalformedQuantity."""
    return _parse(text)[0]


def format_quantity(value: int | Decimal, style: Style = "DecimalSI") -> str:
    """Write `value` canonically: no precision lost, the largest fitting suffix, no fraction.

    `BinarySI` falls back to `DecimalSI` for fractions and for magnitudes below 1024, as Kubernetes does.
    """
    exact = _bounded(Decimal(value))
    if exact == 0:
        return "0"
    if style == "BinarySI" and abs(exact) >= 1024 and exact == exact.to_integral_value():
        return _binary(int(exact))
    return _decimal(exact, exponents=style == "DecimalExponent")


@functools.lru_cache(_KEPT)
def _parsed(text: str) -> Quantity:
    return Quantity(*_parse(text))


@functools.lru_cache(_KEPT)
def _bytes(count: int) -> Quantity:
    return Quantity(Decimal(count), "BinarySI")


def _parse(text: str) -> tuple[Decimal, Style]:
    match = _TEXT.fullmatch(text) if len(text) <= _LONGEST else None
    if match is None:
        raise MalformedQuantity(
            f"quantity {text[:_LONGEST]!r}: expected a number with a suffix or none, as 80Gi, 1500m, 2e3"
        )
    number, suffix = Decimal(match["number"]), match["suffix"] or ""
    if match["exponent"] is not None:
        return _bounded(number.scaleb(int(match["exponent"]), _EXACT)), "DecimalExponent"
    if suffix in _BINARY:
        return _bounded(_EXACT.multiply(number, Decimal(_BINARY[suffix]))), "BinarySI"
    return _bounded(number.scaleb(_DECIMAL[suffix], _EXACT)), "DecimalSI"


def _bounded(value: Decimal) -> Decimal:
    if abs(value) > _LIMIT:
        return _LIMIT.copy_sign(value)
    rounded = value.quantize(_NANO, ROUND_UP, _EXACT)
    return abs(rounded) if rounded == 0 else rounded


def _binary(value: int) -> str:
    suffix = ""
    for name, factor in _BINARY.items():
        if value % factor:
            break
        suffix = name
    return f"{value // _BINARY.get(suffix, 1)}{suffix}"


def _decimal(value: Decimal, *, exponents: bool) -> str:
    digits, exponent = int(value.scaleb(9, _EXACT)), -9
    while digits % 1000 == 0 and exponent < 18:
        digits, exponent = digits // 1000, exponent + 3
    if exponents:
        return f"{digits}e{exponent}" if exponent else str(digits)
    return f"{digits}{_SUFFIX_OF[exponent]}"
