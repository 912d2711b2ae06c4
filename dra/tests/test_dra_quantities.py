from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from claimwright.dra.quantities import MalformedQuantity, Quantity, Style, format_quantity, parse_quantity

STYLES = st.sampled_from(["BinarySI", "DecimalSI", "DecimalExponent"])
NANOS = st.integers(-(10**18), 10**18).map(lambda count: Decimal(count).scaleb(-9))


@pytest.mark.parametrize(
    ("text", "value", "canonical"),
    [
        ("80Gi", 80 * 2**30, "80Gi"),
        ("1024Mi", 2**30, "1Gi"),
        ("1500m", Decimal("1.5"), "1500m"),
        ("1.5", Decimal("1.5"), "1500m"),
        ("0.5Ki", 512, "512"),
        ("1.1Gi", Decimal("1181116006.4"), "1181116006400m"),
        ("12e6", 12_000_000, "12e6"),
        ("1E3", 1000, "1e3"),
        ("1E", 10**18, "1E"),
        ("1000k", 10**6, "1M"),
        (".5", Decimal("0.5"), "500m"),
        ("5.", 5, "5"),
        ("-3Mi", -3 * 2**20, "-3Mi"),
        ("+7", 7, "7"),
        ("0Gi", 0, "0"),
        ("0.1n", Decimal("1e-9"), "1n"),
        ("100E", 2**63 - 1, str(2**63 - 1)),
    ],
)
def test_a_quantity_reads_exactly_and_writes_canonically(text, value, canonical):
    assert parse_quantity(text) == value
    assert str(Quantity.parse(text)) == canonical


@pytest.mark.parametrize(
    "text", ["", "Gi", "1Kib", "1 Gi", "1K", "--1", "1e", "1.2.3", "0x10", "١", "1e5k", "9" * 300]
)
def test_text_that_is_no_quantity_is_refused_by_name(text):
    with pytest.raises(MalformedQuantity, match="expected a number"):
        parse_quantity(text)


@given(value=NANOS, style=STYLES)
def test_writing_and_reading_keeps_every_digit(value: Decimal, style: Style):
    assert parse_quantity(format_quantity(value, style)) == value


@given(value=NANOS, style=STYLES)
def test_writing_again_what_was_read_gives_the_same_text(value: Decimal, style: Style):
    text = format_quantity(value, style)
    assert str(Quantity(parse_quantity(text), style)) == text


@given(st.text(max_size=20))
def test_any_text_gives_a_value_or_the_one_error(text: str):
    try:
        value = parse_quantity(text)
    except MalformedQuantity:
        return
    assert abs(value) <= 2**63 - 1


def test_equal_amounts_are_equal_in_any_style():
    assert Quantity.parse("1Gi") == Quantity.parse("1073741824")
    assert len({Quantity.parse("1k"), Quantity.parse("1e3"), Quantity.parse("1000")}) == 1


def test_an_amount_below_one_rounds_up_to_a_whole_number():
    assert int(Quantity.parse("1100m")) == 2
