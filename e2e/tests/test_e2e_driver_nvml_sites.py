"""Each place in the driver that calls NVML fails with each of NVML's words: a value or one of the driver's errors comes
of it, and the hardware can be put back.

The places are found in the adapters' source, so that a new one joins by itself: it must be passed by one of the deeds
below, or the first test names it. The calls are those of the real adapters to the emulated library, in this process.
"""

from __future__ import annotations

import ast
import itertools
import sys
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any

import pynvml
import pytest

from claimwright.driver.adapters import nvml as adapter
from claimwright.driver.adapters.nvml import (
    NvmlEvents,
    NvmlLibrary,
    NvmlPartitions,
    NvmlSession,
    NvmlUsage,
    NvmlVgpus,
    ProfileBook,
)
from claimwright.driver.errors import DriverError
from claimwright.driver.ports import MigReading, Placement
from claimwright.e2e.hardware import hardware
from claimwright.emulator import running
from claimwright.emulator.model import load_node_profile
from claimwright.emulator.nvml.driver_root import LIBRARY_FOLDER

pytestmark = [pytest.mark.e2e, pytest.mark.slow]
SOURCES = sorted(Path(adapter.__path__[0]).glob("*.py"))
CODES = sorted(
    value for name, value in vars(pynvml).items() if name.startswith("NVML_ERROR_") and isinstance(value, int)
)
# Boards that have, between them, all that the driver asks NVML about: partitions, mixed sizes, mediated devices.
ROOTS = {"0000:20", "0000:b0", "0000:d0"}
H100, L40S, T4, T4_ADDRESS = 0, 1, 2, "0000:d1:00.0"
SMALL = 19  # the id of an H100's profile 1g.10gb
UUID = "2f6c6b3c-3f0a-4a52-9d9b-0d6f1d4f9d01"
MACHINE = "c7d9c3a5-0000-4000-8000-000000000001"


@dataclass(frozen=True, order=True)
class Site:
    """A place in the source that takes a function of NVML; `function` as pynvml names it."""

    file: str
    line: int
    function: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}:{self.function}"


def sites_of(path: Path) -> Iterator[Site]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "pynvml":
            found = getattr(pynvml, node.attr)
            if (
                callable(found)
                and not isinstance(found, type)
                and node.attr.startswith(("nvml", "_nvmlCheck"))
            ):
                yield Site(path.name, node.lineno, node.attr)


SITES = sorted({site for path in SOURCES for site in sites_of(path)})


@dataclass
class Trouble:
    """What fails, and what was passed by; `lasts` fails a site each time, otherwise once."""

    fails: dict[Site, int] = field(default_factory=dict)
    lasts: bool = True
    passed: set[Site] = field(default_factory=set)

    def at(self, site: Site) -> None:
        self.passed.add(site)
        code = self.fails.get(site)
        if code is not None:
            if not self.lasts:
                del self.fails[site]
            raise pynvml.NVMLError(code)


class Fragile:
    """pynvml as one module of the adapters sees it."""

    def __init__(self, trouble: Trouble) -> None:
        self._trouble = trouble

    def __getattr__(self, name: str) -> Any:
        found = getattr(pynvml, name)
        if isinstance(found, type) or not callable(found) or not name.startswith(("nvml", "_nvmlCheck")):
            return found
        frame: FrameType = sys._getframe(1)
        site = Site(Path(frame.f_code.co_filename).name, frame.f_lineno, name)

        def call(*arguments: Any, **named: Any) -> Any:
            self._trouble.at(site)
            return found(*arguments, **named)

        return call

    def __setattr__(self, name: str, value: object) -> None:
        if name == "_trouble":
            super().__setattr__(name, value)
        else:
            setattr(pynvml, name, value)


class Doors:
    """The real adapters on the emulated node, and what they do in the driver."""

    def __init__(self, node: running.RunningNode, trouble: Trouble) -> None:
        self.session = NvmlSession(lambda: node.driver_root / LIBRARY_FOLDER / "libnvidia-ml.so.1")
        self.node, self.trouble = node, trouble
        self.usage, self.vgpus = NvmlUsage(self.session), NvmlVgpus(self.session)
        self.events = NvmlEvents(self.session)
        self.forget()
        self.gpus = {gpu["index"]: gpu for gpu in node.call("snapshot")["gpus"]}

    def forget(self) -> None:
        """Know nothing from earlier calls."""
        profiles = ProfileBook()
        self.library = NvmlLibrary(self.session, profiles, conditions=True)
        self.partitions = NvmlPartitions(self.session, profiles)

    def uuid(self, gpu: int) -> str:
        return str(self.gpus[gpu]["uuid"])

    def read_all(self) -> Any:
        return self.library.read()

    def cut_and_heal(self) -> None:
        """What a claim for a partition and its release do, with the undo that follows whatever fails."""
        gpu = self.uuid(H100)
        try:
            self.partitions.switch(gpu, enabled=True)
            made = self.partitions.create(gpu, SMALL, Placement(0, 1))
            assert made.compute_instances
            self.partitions.destroy(gpu, made.gpu_instance)
            self.partitions.switch(gpu, enabled=False)
        finally:
            self.trouble.fails.clear()
            self.whole(gpu)

    def whole(self, gpu: str) -> None:
        self.forget()
        read = self.partitions.read(gpu)
        assert isinstance(read, MigReading)
        for partition in read.partitions:
            self.partitions.destroy(gpu, partition.gpu_instance)
        self.partitions.switch(gpu, enabled=False)

    def use(self) -> None:
        address = str(self.gpus[T4]["pci"])
        with self.usage.aside():
            self.usage.clients(address)
        self.usage.persistence(address)
        try:
            self.usage.set_persistence(address, enabled=True)
        finally:
            self.trouble.fails.clear()
            self.usage.set_persistence(address, enabled=False)

    def machines(self) -> None:
        self.vgpus.running(self.uuid(T4))

    def listen(self) -> None:
        with self.events.watch() as watch:
            self.node.call("inject_fault", fault="xid", parameters={"gpu": H100, "xid": 13})
            watch.wait(0.05)


# The first failure of a deed that leads to the place where a second one may happen.
FIRST = "nvmlGpuInstanceCreateComputeInstance"
DEEDS: Mapping[str, Callable[[Doors], Any]] = {
    "read": Doors.read_all,
    "cut": Doors.cut_and_heal,
    "cut, and the compute instance fails": Doors.cut_and_heal,
    "use": Doors.use,
    "machines": Doors.machines,
    "listen": Doors.listen,
}


@pytest.fixture(scope="module")
def doors() -> Iterator[Doors]:
    with pytest.MonkeyPatch.context() as patch:
        whole = load_node_profile("every-mode")
        profile = whole.model_copy(update={"pcie": [each for each in whole.pcie if each.root in ROOTS]})
        node = running.up(profile, name=f"sites-{uuid.uuid4().hex[:8]}")
        try:
            for name in ("CLAIMWRIGHT_NODE", "LD_LIBRARY_PATH"):
                patch.setenv(name, node.environment[name])
            patch.setattr(pynvml, "nvmlLib", None)
            trouble = Trouble()
            for path in SOURCES:
                module = sys.modules.get(f"{adapter.__name__}.{path.stem}")
                if module is not None and hasattr(module, "pynvml"):
                    patch.setattr(module, "pynvml", Fragile(trouble))
            furnish(node)
            yield Doors(node, trouble)
        finally:
            running.down(node.name)


def furnish(node: running.RunningNode) -> None:
    """Have of everything that a reading may find: a vGPU that runs, mixed sizes, a process."""
    (
        node.host_root / "sys/bus/pci/devices" / T4_ADDRESS / "mdev_supported_types/nvidia-222/create"
    ).write_text(UUID)
    node.call("start_vm", carrier=UUID, vm=MACHINE, pid=4000)
    node.call("set_mixed_sizes", gpu=L40S, enabled=True)
    node.call("start_process", gpu=T4, pid=4001, name="sleep", memory_bytes=1 << 20)


def did(doors: Doors, deed: str, fails: Mapping[Site, int], *, lasts: bool = True) -> Any:
    """Do it while something fails; return what came of it."""
    doors.forget()
    trouble = doors.trouble
    trouble.passed, trouble.lasts = set(), lasts
    trouble.fails = dict(fails)
    try:
        return DEEDS[deed](doors)
    finally:
        trouble.fails = {}


def prerequisite(deed: str) -> dict[Site, int]:
    return {site: pynvml.NVML_ERROR_UNKNOWN for site in SITES if site.function == FIRST and "fails" in deed}


@pytest.fixture(scope="module")
def passed_by(doors: Doors) -> Mapping[Site, tuple[str, ...]]:
    """The deeds that pass by each site."""
    found: dict[Site, list[str]] = {}
    for deed in DEEDS:
        with suppress(DriverError):
            did(doors, deed, prerequisite(deed))
        for site in doors.trouble.passed:
            found.setdefault(site, []).append(deed)
    return {site: tuple(deeds) for site, deeds in found.items()}


def test_the_deeds_pass_by_every_place_that_calls_nvml(passed_by: Mapping[Site, tuple[str, ...]]) -> None:
    assert [str(site) for site in SITES if site not in passed_by] == []
    assert len(SITES) > 60


@pytest.mark.parametrize("site", SITES, ids=str)
def test_every_word_at_every_place_is_a_value_or_an_error_of_the_driver(
    doors: Doors, passed_by: Mapping[Site, tuple[str, ...]], site: Site
) -> None:
    before = hardware(doors.node)
    deeds = itertools.cycle(passed_by[site])
    for code, lasts in zip(CODES, itertools.cycle((True, True, False)), strict=False):
        deed = next(deeds)
        told = "fine"
        try:
            did(doors, deed, {**prerequisite(deed), site: code}, lasts=lasts)
        except DriverError as error:
            told = str(error)
        assert told.strip(), f"code {code} is an error that says nothing"
    assert hardware(doors.node) == before
