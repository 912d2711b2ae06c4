"""Moving a GPU between drivers: both ways, from every half-way state, and never from under somebody."""

from __future__ import annotations

import os
import subprocess
import threading
import time
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from claimwright.driver.adapters import HostTree, NvmlSession
from claimwright.driver.errors import StepFailed, StepRefused
from claimwright.driver.inventory.vfio_drivers import cannot_load, is_vfio, module_for
from claimwright.driver.ports import Finished, GpuClient
from claimwright.driver.steps import Probe, Step
from claimwright.driver.testing import MemoryPciBus, MemoryUsage, ScriptedProcesses
from claimwright.driver.tools.device_users import DeviceUsers
from claimwright.driver.tools.pci_drivers import PciDrivers
from claimwright.driver.tools.persistence import PersistenceTool, persistence_off
from claimwright.driver.tools.vfio_bind import VfioBindTool, vfio_bind
from claimwright.driver.tools.vfio_modules import VfioModules

GPU, SOUND, OTHER = "0000:65:00.0", "0000:65:00.1", "0000:66:00.0"
STEP = vfio_bind(GPU)
CLIENT = GpuClient(4711, "python3")


class Died(BaseException):
    """The process ends here."""


class World:
    """One GPU with its sound function in group 7, and the tool over it."""

    def __init__(
        self, *, companion: bool = False, drivers: tuple[str, ...] = ("nvidia", "vfio-pci", "snd_hda_intel")
    ) -> None:
        self.bus = MemoryPciBus(drivers=drivers)
        self.bus.files[PurePosixPath("/proc/sys/kernel/osrelease")] = "6.12.0\n"
        self.bus.add(GPU)
        if companion:
            self.bus.add(SOUND, driver="snd_hda_intel", class_code=0x040300)
        self.usage = MemoryUsage()
        self.processes = ScriptedProcesses()
        self.tool = self.again()

    def again(self) -> VfioBindTool:
        """Return the tool of a new process."""
        modules = VfioModules(self.bus, self.processes, Path("/host-root"))
        users = DeviceUsers(self.bus, self.usage)
        drivers = PciDrivers(self.bus, let_go_seconds=0.2)
        return VfioBindTool(self.bus, drivers, modules, users, patience_seconds=0.0)

    def begin(self) -> Step:
        """Do the step as the machine does: look, then act; return it as the journal keeps it."""
        step = Step(STEP.tool, {**STEP.arguments, **self.tool.found(STEP)})
        self.tool.do(step)
        return step

    def state(self) -> Mapping[str, tuple[str | None, str | None]]:
        """Return driver and override of each function."""
        addresses = self.bus.entries(PurePosixPath("/sys/bus/pci/devices"))
        return {address: (self.bus.driver(address), self.bus.override(address)) for address in addresses}


@pytest.fixture
def world() -> World:
    return World()


def test_a_gpu_goes_to_vfio_and_comes_back(world: World) -> None:
    before = world.state()
    step = world.begin()
    bound = world.bus.driver(GPU), world.tool.probe(step)

    world.tool.undo(step)

    assert bound == ("vfio-pci", Probe.DONE)
    assert world.state() == before
    assert world.tool.probe(step) is Probe.NOT_DONE


def test_while_it_is_away_only_its_vfio_driver_may_take_it(world: World) -> None:
    world.begin()

    assert world.bus.override(GPU) == "vfio-pci"


@pytest.mark.capability("000-04")
@pytest.mark.parametrize("companion", [False, True], ids=["alone", "with its sound function"])
@pytest.mark.parametrize("moment", range(20))
def test_wherever_the_driver_dies_on_the_way_both_ways_lead_on(moment: int, companion: bool) -> None:
    for finish in ("do", "undo"):
        world = World(companion=companion)
        before = world.state()
        step = Step(STEP.tool, {**STEP.arguments, **world.tool.found(STEP)})
        _dies_at(world, moment, lambda: world.tool.do(step))  # noqa: B023  called at once

        tool = world.again()
        half = tool.probe(step)
        getattr(tool, finish)(step)

        if finish == "do":
            assert tool.probe(step) is Probe.DONE
        tool.undo(step)
        assert world.state() == before
        assert half in (Probe.DONE, Probe.PARTLY) or (half is Probe.NOT_DONE and moment == 0)


@pytest.mark.parametrize("companion", [False, True], ids=["alone", "with its sound function"])
@pytest.mark.parametrize("moment", range(20))
def test_wherever_the_driver_dies_on_the_way_back_the_next_one_gets_there(
    moment: int, companion: bool
) -> None:
    world = World(companion=companion)
    before = world.state()
    step = world.begin()
    _dies_at(world, moment, lambda: world.tool.undo(step))

    world.again().undo(step)

    assert world.state() == before


def _dies_at(world: World, moment: int, act: Any) -> None:
    left = [moment]

    def burn() -> None:
        if left[0] <= 0:
            raise Died
        left[0] -= 1

    world.bus.at_write = burn
    try:
        act()
    except (Died, StepFailed):
        pass  # a write in another thread dies there, and the caller hears of it
    finally:
        world.bus.at_write = lambda: None


@settings(deadline=None)
@given(
    driver=st.sampled_from([None, "nvidia", "vfio-pci"]),
    override=st.sampled_from(["", "nvidia", "vfio-pci"]),
    journal=st.booleans(),
)
def test_from_any_state_of_its_own_making_a_gpu_is_bound_and_freed(
    driver: str | None, override: str, journal: bool
) -> None:
    world = World()
    if driver != "nvidia":
        world.bus.write_text(PurePosixPath("/sys/bus/pci/drivers/nvidia/unbind"), GPU)
    if driver == "vfio-pci":
        world.bus.write_text(PurePosixPath(f"/sys/bus/pci/devices/{GPU}/driver_override"), "vfio-pci")
        world.bus.write_text(PurePosixPath("/sys/bus/pci/drivers/vfio-pci/bind"), GPU)
    world.bus.write_text(PurePosixPath(f"/sys/bus/pci/devices/{GPU}/driver_override"), override)
    found = world.tool.found(STEP) if journal else {"driver": "vfio-pci"}
    step = Step(STEP.tool, {**STEP.arguments, **found})

    world.tool.do(step)
    bound = world.bus.driver(GPU)
    world.tool.undo(step)

    stays = journal and driver == "vfio-pci"
    assert bound == "vfio-pci"
    assert world.bus.driver(GPU) == ("vfio-pci" if stays else "nvidia")
    assert world.bus.override(GPU) in (None, world.bus.driver(GPU))


def test_what_an_administrator_put_on_vfio_stays_there(world: World) -> None:
    world.bus.write_text(PurePosixPath("/sys/bus/pci/drivers/nvidia/unbind"), GPU)
    world.bus.write_text(PurePosixPath(f"/sys/bus/pci/devices/{GPU}/driver_override"), "vfio-pci")
    world.bus.write_text(PurePosixPath("/sys/bus/pci/drivers/vfio-pci/bind"), GPU)
    before = world.state()

    step = world.begin()
    world.tool.undo(step)

    assert world.state() == before


def test_the_sound_function_goes_along_and_comes_back() -> None:
    world = World(companion=True)
    before = world.state()

    step = world.begin()
    away = {driver for driver, _ in world.state().values()}
    world.tool.undo(step)

    assert away == {"vfio-pci"}
    assert world.state() == before


@pytest.mark.capability("001-08")
@pytest.mark.parametrize(
    ("stranger", "driver"),
    [(0x010802, "nvme"), (0x030200, "nvidia"), (0x030200, "vfio-pci"), (0x020000, "mlx5_core")],
)
def test_a_stranger_in_its_group_is_named_and_nothing_is_touched(
    world: World, stranger: int, driver: str
) -> None:
    world.bus.add(OTHER, driver=driver, class_code=stranger)
    before = world.state()

    with pytest.raises(StepRefused, match=rf"group 7 is not viable: {OTHER} \(driver {driver}\)"):
        world.begin()

    assert world.state() == before


@pytest.mark.parametrize(
    ("stranger", "driver"), [(0x060400, "pcieport"), (0x010802, None), (0x010802, "vfio-pci")]
)
def test_what_does_no_dma_of_its_own_may_be_in_the_group(
    world: World, stranger: int, driver: str | None
) -> None:
    world.bus.add(OTHER, driver=driver, class_code=stranger)

    step = world.begin()

    assert world.tool.probe(step) is Probe.DONE
    assert world.bus.driver(OTHER) == driver


def test_a_driver_that_is_not_nvidias_keeps_its_gpu() -> None:
    world = World(drivers=("nvidia", "vfio-pci", "nouveau"))
    world.bus.add(OTHER, driver="nouveau", group=8)
    step = vfio_bind(OTHER)

    with pytest.raises(StepRefused, match="bound to driver nouveau"):
        world.tool.do(Step(step.tool, {**step.arguments, **world.tool.found(step)}))

    assert world.bus.driver(OTHER) == "nouveau"


def test_a_gpu_with_virtual_functions_is_not_torn_from_them(world: World) -> None:
    world.bus.files[PurePosixPath(f"/sys/bus/pci/devices/{GPU}/sriov_numvfs")] = "4\n"

    with pytest.raises(StepRefused, match="4 SR-IOV virtual functions"):
        world.begin()

    assert world.bus.driver(GPU) == "nvidia"


def test_a_node_without_iommu_is_told_what_to_do() -> None:
    world = World()
    for path in [path for path in world.bus.links if "iommu_group" in str(path)]:
        del world.bus.links[path]

    with pytest.raises(StepRefused, match=r"IOMMU is not enabled .*intel_iommu=on"):
        world.begin()


@pytest.mark.capability("001-08")
def test_who_uses_the_gpu_is_named_and_keeps_it(world: World) -> None:
    world.usage.use(GPU, CLIENT)

    with pytest.raises(StepRefused, match=r"in use by process 4711 \(python3\)"):
        world.begin()

    assert world.state() == {GPU: ("nvidia", None)}


def test_an_open_file_is_use_though_nvml_knows_nothing_of_it(world: World) -> None:
    bus = world.bus
    bus.files[PurePosixPath(f"/proc/driver/nvidia/gpus/{GPU}/information")] = (
        "Model: H100\nDevice Minor: \t 3\n"
    )
    bus.devices[PurePosixPath("/dev/nvidia3")] = (195, 3)
    bus.links[PurePosixPath("/proc/77/fd/5")] = "/dev/the-containers-name"
    bus.devices[PurePosixPath("/proc/77/fd/5")] = (195, 3)
    bus.links[PurePosixPath("/proc/78/fd/5")] = "/dev/nvidia4"
    bus.devices[PurePosixPath("/proc/78/fd/5")] = (195, 4)
    bus.files[PurePosixPath("/proc/77/comm")] = "nvidia-persiste\n"

    with pytest.raises(StepRefused, match=r"in use by process 77 \(nvidia-persiste\);"):
        world.begin()


def test_the_open_files_of_real_processes_are_found_but_for_our_own() -> None:
    users = DeviceUsers(HostTree(Path("/")), MemoryUsage())
    with Path("/dev/full").open() as file, subprocess.Popen(["/bin/sleep", "600"], stdin=file) as other:
        found = {client.pid for client in users._openers([PurePosixPath("/dev/full")])}
        other.kill()

    assert other.pid in found
    assert os.getpid() not in found


def test_the_driver_itself_lets_go_of_the_gpu_while_it_changes_drivers(world: World) -> None:
    aside = []
    world.bus.at_write = lambda: aside.append(world.usage.stands_aside)

    world.begin()

    assert set(aside) == {True}
    assert not world.usage.stands_aside


def test_a_watch_for_events_ends_when_a_gpu_has_to_go_and_begins_again_after(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    session = NvmlSession(lambda: Path("/nowhere"))
    monkeypatch.setattr(session, "_initialise", lambda: None)
    monkeypatch.setattr("claimwright.driver.adapters.nvml.session._shut_down", lambda: None)
    told: list[str] = []
    turns = [threading.Event() for _ in range(2)]

    def watch() -> None:
        for turn in turns:
            with session.watch():
                told.append("watches")
                turn.set()
                while not session.gives_way and turn is not turns[-1]:
                    time.sleep(0.001)

    thread = threading.Thread(target=watch)
    thread.start()
    assert turns[0].wait(10)
    with session.aside():
        told.append("aside")
        assert not turns[1].is_set()
    thread.join(10)

    assert told == ["watches", "aside", "watches"]


def test_a_virtual_machine_that_still_runs_keeps_its_gpu(world: World) -> None:
    step = world.begin()
    world.bus.links[PurePosixPath("/proc/99/fd/12")] = "/dev/vfio/7"
    world.bus.devices[PurePosixPath("/proc/99/fd/12")] = world.bus.devices[PurePosixPath("/dev/vfio/7")]
    world.bus.files[PurePosixPath("/proc/99/comm")] = "qemu-system-x86\n"

    with pytest.raises(StepFailed, match=r"still in use by process 99 \(qemu-system-x86\)"):
        world.tool.undo(step)

    assert world.tool.probe(step) is Probe.DONE


def test_a_driver_that_does_not_let_go_is_not_waited_for_for_ever(world: World) -> None:
    reached, go = threading.Event(), threading.Event()
    write = world.bus.write_text

    def stuck(path: PurePosixPath, text: str) -> None:
        if path.name == "unbind":
            reached.set()
            assert go.wait(30)
        write(path, text)

    world.bus.write_text = stuck  # type: ignore[method-assign]
    step = Step(STEP.tool, {**STEP.arguments, **world.tool.found(STEP)})
    for _ in range(2):
        with pytest.raises(StepFailed, match="has not let go of it yet"):
            world.tool.do(step)
    with pytest.raises(StepFailed, match="has not let go of it yet"):
        world.tool.undo(step)
    go.set()
    for thread in threading.enumerate():
        if thread.name == f"unbind {GPU}":
            thread.join(30)

    world.tool.undo(step)

    assert reached.is_set()
    assert world.state() == {GPU: ("nvidia", None)}


def test_what_the_kernel_refuses_is_said_with_its_word(world: World) -> None:
    world.bus.stuck.add(GPU)

    with pytest.raises(StepFailed, match="drivers/nvidia/unbind: Device or resource busy"):
        world.begin()


def test_without_nvidias_driver_a_released_gpu_has_none(world: World) -> None:
    step = world.begin()
    for name in ("bind", "unbind"):
        del world.bus.files[PurePosixPath("/sys/bus/pci/drivers/nvidia") / name]

    world.tool.undo(step)

    assert world.state() == {GPU: (None, None)}


def test_a_driver_that_took_the_gpu_meanwhile_keeps_it(world: World) -> None:
    step = world.begin()
    world.bus.register("somebody")
    bus, drivers = world.bus, PurePosixPath("/sys/bus/pci/drivers")
    bus.write_text(drivers / "vfio-pci/unbind", GPU)
    bus.write_text(PurePosixPath(f"/sys/bus/pci/devices/{GPU}/driver_override"), "somebody")
    bus.write_text(drivers / "somebody/bind", GPU)

    world.tool.undo(step)

    assert bus.driver(GPU) == "somebody"


def test_the_module_is_loaded_when_it_is_needed() -> None:
    world = World(drivers=("nvidia",))
    loading = world.processes.run

    def load(command: Any, **options: Any) -> Finished:
        world.bus.register("vfio-pci")
        return loading(command, **options)

    world.processes.run = load  # type: ignore[method-assign]

    world.begin()

    assert world.processes.commands == [("chroot", "/host-root", "modprobe", "vfio_pci")]
    assert world.bus.driver(GPU) == "vfio-pci"


def test_a_module_that_does_not_load_is_named_and_the_gpu_left_alone() -> None:
    world = World(drivers=("nvidia",))
    world.processes.answers["chroot"] = Finished(1, "modprobe: FATAL: Module vfio_pci not found\n")

    with pytest.raises(StepFailed, match=r"vfio_pci is not loaded.*status 1: modprobe: FATAL"):
        world.begin()

    assert world.state() == {GPU: ("nvidia", None)}


ALIASES = """\
alias pci:v000010DEd*sv*sd*bc03sc02i00* nvidia
alias vfio_pci:v*d*sv*sd*bc*sc*i* vfio_pci
alias vfio_pci:v000010DEd00002342sv*sd*bc*sc*i* nvgrace_gpu_vfio_pci
alias vfio_pci:v00008086d00004940sv*sd*bc*sc*i* qat_vfio_pci
"""


@pytest.mark.parametrize(("device", "module"), [("2342", "nvgrace_gpu_vfio_pci"), ("2330", "vfio_pci")])
def test_the_variant_that_names_the_gpu_best_is_chosen(world: World, device: str, module: str) -> None:
    world.bus.files[PurePosixPath("/lib/modules/6.12.0/modules.alias")] = ALIASES

    assert module_for(world.bus, f"pci:v000010DEd0000{device}sv000010DEsd000016C1bc03sc02i00") == module


def test_without_a_list_of_variants_the_general_driver_serves(world: World) -> None:
    assert module_for(world.bus, "pci:v000010DEd00002342sv000010DEsd000016C1bc03sc02i00") == "vfio_pci"


@pytest.mark.parametrize(
    ("drivers", "listed", "missing"),
    [
        (("vfio-pci",), "", False),
        ((), "kernel/drivers/vfio/pci/vfio-pci.ko.xz: kernel/drivers/vfio/vfio.ko\n", False),
        ((), "kernel/drivers/net/mlx5.ko:\n", True),
        ((), "", False),
    ],
    ids=["loaded", "in the list", "not in the list", "no list"],
)
def test_a_module_is_missing_only_when_the_kernel_says_so(
    drivers: tuple[str, ...], listed: str, missing: bool
) -> None:
    world = World(drivers=("nvidia", *drivers))
    if listed:
        world.bus.files[PurePosixPath("/lib/modules/6.12.0/modules.dep")] = listed

    assert cannot_load(world.bus, "vfio_pci") is missing


def test_vfio_drivers_are_known_by_their_names() -> None:
    names = ("vfio-pci", "nvgrace_gpu_vfio_pci", "mlx5-vfio-pci", "nvidia", None, "vfiovfio")

    assert [is_vfio(name) for name in names] == [True, True, True, False, False, False]


@pytest.mark.parametrize("was", [True, False])
def test_persistence_mode_comes_back_as_it_was(was: bool) -> None:
    usage = MemoryUsage({GPU: was})
    tool, step = PersistenceTool(usage), persistence_off(GPU)
    step = Step(step.tool, {**step.arguments, **tool.found(step)})

    tool.do(step)
    between = usage.modes[GPU], tool.probe(step)
    tool.undo(step)

    assert between == (False, Probe.DONE)
    assert usage.modes[GPU] is was


def test_a_gpu_out_of_nvmls_sight_has_no_persistence_mode() -> None:
    tool, step = PersistenceTool(MemoryUsage()), persistence_off(GPU)
    step = Step(step.tool, {**step.arguments, **tool.found(step)})

    tool.do(step)
    tool.undo(step)

    assert tool.probe(step) is Probe.DONE
