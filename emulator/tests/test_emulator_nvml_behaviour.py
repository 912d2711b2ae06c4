"""How much of NVML behaves, and that the programs which meet a node find all that they call."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Mapping
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import pytest

from claimwright.emulator.nvml import compiling, generate
from claimwright.emulator.nvml.consumers import CONSUMERS
from claimwright.emulator.nvml.generation.behaviour import Answered, Way, read_behaviour
from claimwright.emulator.nvml.generation.overview import in_family
from claimwright.emulator.nvml.header import Header, installed_header, read_header

# True of every Linux machine, or of every board without a display: no state of ours could change them.
FIXED_FOR_CONSUMERS = {
    "nvmlDeviceGetDisplayActive",
    "nvmlDeviceGetDisplayMode",
    "nvmlDeviceGetDriverModel",
    "nvmlDeviceGetDriverModel_v2",
}


@cache
def _header() -> Header:
    pytest.importorskip("pycparser")
    return read_header(*installed_header())


@cache
def _behaviour() -> Mapping[str, Answered]:
    return generate.behaviour(_header())


@cache
def _exported() -> frozenset[str]:
    compiling.compile_all()
    listed = subprocess.run(
        ["nm", "-D", "--defined-only", compiling.LIBRARY.path], capture_output=True, text=True, check=True
    )
    return frozenset(line.split()[2] for line in listed.stdout.splitlines())


def test_the_header_declares_436_functions_and_all_are_exported_under_both_names() -> None:
    names = {function.name for function in _header().functions}
    assert len(names) == 436
    assert names <= _exported()
    assert {re.sub(r"_v\d+$", "", name) for name in names} <= _exported()


def test_every_name_that_pynvml_asks_for_is_exported() -> None:
    import pynvml

    asked = set(re.findall(r'_nvmlGetFunctionPointer\("(\w+)"\)', Path(pynvml.__file__).read_text()))
    assert len(asked) > 380
    assert asked <= _exported()


def test_at_least_three_hundred_functions_have_behaviour() -> None:
    assert sum(each.behaves for each in _behaviour().values()) >= 300


@pytest.mark.parametrize(
    ("family", "behaving"), [("GPU instances", 35), ("compute instances", 12), ("vGPU", 79)]
)
def test_instances_behave_entirely_and_vgpus_nearly(family: str, behaving: int) -> None:
    names = in_family(family, _behaviour())
    assert sum(_behaviour()[name].behaves for name in names) >= behaving


@pytest.mark.parametrize("consumer", sorted(CONSUMERS))
def test_a_consumer_finds_behaviour_behind_all_that_it_calls(consumer: str) -> None:
    names = CONSUMERS[consumer]
    assert {name for name in names if not _behaviour()[name].behaves} <= FIXED_FOR_CONSUMERS
    assert all(_behaviour()[name].way is not Way.NOTHING for name in names)


@pytest.mark.parametrize("package", ["gpustat", "nvitop"])
def test_the_lists_of_python_programs_are_what_their_source_calls(package: str) -> None:
    called = _called_by(package)
    assert len(called) > 15
    assert called <= CONSUMERS[package]


def test_behaviour_is_read_from_the_sources() -> None:
    """A body counts, a constant does not; what has both a body and an answer is the node's for MIG devices."""
    source = "API(nvmlA)(void) {}\nFIXED(nvmlB)(void) {}\nCONSTANT(nvmlC, 1)\nALIAS(nvmlD, nvmlB);\nNUMBER(nvmlE, x)\n"
    found = read_behaviour(
        [f"nvml{letter}" for letter in "ABCDEFG"], {"x.c": source}, {"nvmlE": "y", "nvmlF": "y"}
    )
    assert {name[-1]: each.way for name, each in found.items()} == {
        "A": Way.LIBRARY,
        "B": Way.FIXED,
        "C": Way.FIXED,
        "D": Way.FIXED,
        "E": Way.BOTH,
        "F": Way.NODE,
        "G": Way.NOTHING,
    }
    assert found["nvmlE"].where == "library/x.c, answers/y.py"


def _called_by(package: str) -> set[str]:
    """Return the symbols behind the pynvml functions that a package's source names."""
    import pynvml

    text = Path(pynvml.__file__).read_text()
    symbols: dict[str, set[str]] = {}
    for body in re.split(r"^def ", text, flags=re.MULTILINE)[1:]:
        name = body.partition("(")[0]
        symbols.setdefault(name, set()).update(re.findall(r'_nvmlGetFunctionPointer\("(\w+)"\)', body))
    spec = find_spec(package)
    assert spec
    assert spec.origin
    sources = "".join(file.read_text() for file in Path(spec.origin).parent.rglob("*.py"))
    names = set(re.findall(r"\b(nvml[A-Z]\w+)\b", sources)) & symbols.keys()
    return {symbol for name in names for symbol in symbols[name]} & _behaviour().keys()
