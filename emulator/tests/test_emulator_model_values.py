"""Small values: PCI addresses and CPU lists."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from claimwright.emulator.model import PciAddress, PciIdentity, load_board
from claimwright.emulator.model.cpus import cpu_list, cpu_mask, parse_cpu_list

addresses = st.builds(
    PciAddress, st.integers(0, 0xFFFF), st.integers(0, 255), st.integers(0, 31), st.integers(0, 7)
)


@given(addresses)
def test_an_address_survives_each_of_its_forms(address: PciAddress) -> None:
    assert PciAddress.parse(str(address)) == address
    assert PciAddress.parse(address.nvml) == address
    assert PciAddress.parse(address.legacy) == address


@given(addresses, addresses)
def test_addresses_sort_as_their_text_does(one: PciAddress, other: PciAddress) -> None:
    assert (one < other) == (str(one) < str(other))


@pytest.mark.parametrize(
    "text", ["", "53:00", "0000:53:00.8", "0000:53:20.0", "zzzz:53:00.0", "0000:53:00.0 "]
)
def test_what_is_no_address_is_named(text: str) -> None:
    with pytest.raises(ValueError, match="is no PCI address"):
        PciAddress.parse(text)


def test_an_address_is_not_comparable_with_text() -> None:
    with pytest.raises(TypeError):
        assert PciAddress(0, 1, 2) < "0000:01:02.0"


def test_the_modalias_is_upper_case_as_file2alias_writes_it() -> None:
    identity = PciIdentity(0x10DE, 0x2330, 0x10DE, 0x16C1, 0x030200, 0xA1)

    assert identity.modalias == "pci:v000010DEd00002330sv000010DEsd000016C1bc03sc02i00"


def test_bar_flags_are_the_kernels() -> None:
    wide, narrow = load_board("h100-sxm5-80").pci.bars[1], load_board("l4").pci.bars[0]

    assert (wide.flags, narrow.flags) == (0x14220C, 0x40200)


@given(st.sets(st.integers(0, 300)))
def test_a_cpu_list_survives_its_text(cpus: set[int]) -> None:
    assert set(parse_cpu_list(cpu_list(cpus))) == cpus


@given(st.sets(st.integers(0, 223)))
def test_a_cpu_mask_has_the_bits_of_its_cpus(cpus: set[int]) -> None:
    mask = cpu_mask(cpus, 224)

    assert int(mask.replace(",", ""), 16) == sum(1 << cpu for cpu in cpus)
    assert len(mask) == 7 * 8 + 6


@pytest.mark.parametrize(
    ("cpus", "possible", "mask"),
    [((0, 1), 2, "3"), ((4,), 5, "10"), ((32,), 33, "1,00000000"), ((), 64, "00000000,00000000")],
)
def test_a_cpu_mask_is_as_wide_as_the_machine(cpus: tuple[int, ...], possible: int, mask: str) -> None:
    assert cpu_mask(cpus, possible) == mask
