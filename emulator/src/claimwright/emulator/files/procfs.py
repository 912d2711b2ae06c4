"""What /proc says about a node (kernel-open/nvidia/nv-procfs.c and nv-caps.c of the open kernel modules)."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache, partial

from claimwright.emulator.files import modules
from claimwright.emulator.files.majors import Majors
from claimwright.emulator.files.parts import Part, Subject
from claimwright.emulator.files.tree import Acts, Dir, File, Tree, text
from claimwright.emulator.model import GpuState, NodeState, NvSwitch

_ROOT = "proc/driver/nvidia"
_STANDARD_DEVICES = """Character devices:
  1 mem
  4 tty
  5 /dev/tty
  5 /dev/console
  5 /dev/ptmx
 10 misc
 13 input
136 pts

Block devices:
  7 loop
259 blkext
"""
FABRIC_MANAGEMENT_MINOR = 0
MIG_CONFIG_MINOR = 1
MIG_MONITOR_MINOR = 2
_FIRST_GPU_MINOR = 3
_GPUS, _GPU_INSTANCES, _COMPUTE_INSTANCES = 32, 15, 8
_INSTANCE_MINORS = 1 + _COMPUTE_INSTANCES
IMEX_MANAGEMENT_MINOR = _FIRST_GPU_MINOR + _GPUS * _GPU_INSTANCES * _INSTANCE_MINORS
_MODULE_PARAMETERS = {
    "ResmanDebugLevel": 4294967295,
    "RmLogonRC": 1,
    "ModifyDeviceFiles": 1,
    "DeviceFileUID": 0,
    "DeviceFileGID": 0,
    "DeviceFileMode": 438,
    "InitializeSystemMemoryAllocations": 1,
    "UsePageAttributeTable": 4294967295,
    "EnableMSI": 1,
    "EnablePCIeGen3": 0,
    "MemoryPoolSize": 0,
    "EnableGpuFirmware": 18,
    "EnableStreamMemOPs": 0,
    "DmaRemapPeerMmio": 1,
}
_STRING_PARAMETERS = (
    "RegistryDwords",
    "RegistryDwordsPerDevice",
    "RmMsg",
    "GpuBlacklist",
    "TemporaryFilePath",
)


@dataclass(frozen=True, slots=True)
class MachineListings:
    """What a machine says itself; `modules` is None where its kernel has none."""

    devices: str
    modules: str | None = None


def emulated_entries() -> tuple[Subject, ...]:
    """Return what a node adds to a machine's /proc, /proc/devices and /proc/modules excepted."""
    return (_driver, _gpus)


def listings(machine: MachineListings, majors: Majors) -> tuple[Subject, ...]:
    """Return a machine's /proc/devices and, where it has one, /proc/modules, with the node's lines in them."""
    return (partial(_listings, machine=machine, majors=majors),)


def whole(majors: Majors) -> tuple[Subject, ...]:
    """Return a /proc that stands alone."""
    return (*emulated_entries(), partial(_machine, majors=majors))


def _driver(state: NodeState) -> Iterator[Part]:
    """Yield what is there as long as the NVIDIA modules are loaded."""
    if "nvidia" in state.bus.modules:
        yield Part(
            "driver",
            (state.driver_version, state.imex_channels),
            lambda: {**_driver_files(state), **_capability_files()},
        )
        yield Part("nvswitches", state.nvswitches, lambda: _nvswitch_files(state.nvswitches))


def _gpus(state: NodeState) -> Iterator[Part]:
    """Yield one folder per GPU that the NVIDIA driver holds."""
    for gpu in state.nvml_gpus:
        locked = state.bus.functions[gpu.pci].unbind_locked
        yield Part(
            ("proc gpu", gpu.index),
            (gpu.uuid, gpu.minor, gpu.board.key, locked),
            lambda gpu=gpu, locked=locked: _gpu_files(state, gpu, locked=locked),  # type: ignore[misc]
        )


def _machine(state: NodeState, majors: Majors) -> Iterator[Part]:
    kilobytes = sum(node.memory_mib for node in state.numa) * 1024
    meminfo = (
        f"MemTotal:       {kilobytes} kB\nMemFree:        {kilobytes} kB\nMemAvailable:   {kilobytes} kB\n"
    )
    loaded = modules.listing(state)
    yield Part("meminfo", kilobytes, lambda: {"proc/meminfo": File(meminfo.encode())})
    yield Part("modules", loaded, lambda: {"proc/modules": File(loaded.encode())})
    yield Part("boot", state.boot_id, lambda: {"proc/sys/kernel/random/boot_id": text(state.boot_id)})
    listed = devices(_STANDARD_DEVICES, majors, nvswitch=bool(state.nvswitches))
    yield Part("devices", listed, lambda: {"proc/devices": File(listed.encode())})


def _listings(state: NodeState, machine: MachineListings, majors: Majors) -> Iterator[Part]:
    listed = devices(machine.devices, majors, nvswitch=bool(state.nvswitches))
    yield Part("devices", listed, lambda: {"proc/devices": File(listed.encode())})
    if machine.modules is not None:
        loaded = modules.listing(state) + modules.others(machine.modules)
        yield Part("modules", loaded, lambda: {"proc/modules": File(loaded.encode())})


def devices(machine: str, majors: Majors, *, nvswitch: bool) -> str:
    """Return the machine's /proc/devices with the driver's character devices in their places (`%3d name`)."""
    head, separator, tail = machine.partition("\nBlock devices:")
    title, *lines = head.strip("\n").split("\n")
    own = [f"{major:3d} {name}" for major, name in majors.lines(nvswitch=nvswitch)]
    ordered = sorted([line for line in lines if line.strip()] + own, key=_major_of)
    return "\n".join([title, *ordered, "", f"Block devices:{tail}" if separator else ""])


def _major_of(line: str) -> int:
    found = re.match(r"\s*(\d+)", line)
    return int(found[1]) if found else 0


def _driver_files(state: NodeState) -> Tree:
    release = "Release Build  (claimwright@emulator)"
    version = f"NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  {state.driver_version}  {release}\n"
    channels = state.imex_channels
    imex = {"ImexChannelCount": channels.count, "CreateImexChannel0": int(channels.create_channel0)}
    parameters = "".join(f"{name}: {value}\n" for name, value in {**_MODULE_PARAMETERS, **imex}.items())
    strings = "".join(f'{name}: ""\n' for name in (*_STRING_PARAMETERS, "ExcludedGpus"))
    return {
        f"{_ROOT}/version": File(f"{version}GCC version:  gcc version 12.2.0 (Debian 12.2.0-14)\n".encode()),
        f"{_ROOT}/params": File(f"{parameters}{strings}".encode()),
        f"{_ROOT}/registry": text('Binary: ""'),
        f"{_ROOT}/suspend": text("suspend hibernate resume"),
        f"{_ROOT}/suspend_depth": text("default modeset uvm"),
        f"{_ROOT}/warnings": Dir(0o555),
        f"{_ROOT}/patches": Dir(0o555),
        f"{_ROOT}/gpus": Dir(0o555),
    }


def _gpu_files(state: NodeState, gpu: GpuState, *, locked: bool) -> Tree:
    folder = f"{_ROOT}/gpus/{gpu.pci}"
    irq = state.function(gpu.pci).irq
    return {
        f"{folder}/information": File(_information(gpu, irq, state.driver_version).encode()),
        f"{folder}/registry": text('Binary: ""'),
        f"{folder}/power": File(_power().encode()),
        f"{folder}/unbindLock": text(int(locked), 0o644, Acts("unbind_lock", str(gpu.pci))),
    }


def _information(gpu: GpuState, irq: int, firmware: str) -> str:
    return (
        f"Model: \t\t {gpu.board.name}\n"
        f"IRQ:   \t\t {irq}\n"
        f"GPU UUID: \t {gpu.uuid}\n"
        f"Video BIOS: \t {gpu.board.parts.vbios.lower()}\n"
        f"Bus Type: \t PCIe\n"
        f"DMA Size: \t 52 bits\n"
        f"DMA Mask: \t 0xfffffffffffff\n"
        f"Bus Location: \t {gpu.pci}\n"
        f"Device Minor: \t {gpu.minor}\n"
        f"GPU Firmware: \t {firmware}\n"
        f"GPU Excluded:\t No\n"
    )


def _power() -> str:
    return (
        "Runtime D3 status:          Disabled by default\n"
        "Video Memory:               Active\n\n"
        "GPU Hardware Support:\n"
        " Video Memory Self Refresh: Not Supported\n"
        " Video Memory Off:          Not Supported\n\n"
        "Power Limits:\n"
        " Default:                   N/A milliwatts\n"
        " GPU Boost:                 N/A milliwatts\n"
    )


def _capability_files() -> Tree:
    capabilities = f"{_ROOT}/capabilities"
    return {
        f"{capabilities}/mig/config": capability(MIG_CONFIG_MINOR, 0o400),
        f"{capabilities}/mig/monitor": capability(MIG_MONITOR_MINOR, 0o444),
        f"{capabilities}/fabric-imex-mgmt": capability(IMEX_MANAGEMENT_MINOR, 0o400),
        "proc/driver/nvidia-caps/mig-minors": File(mig_minors().encode()),
        "proc/driver/nvidia-caps/nvlink-minors": text(f"fabric-mgmt {FABRIC_MANAGEMENT_MINOR}"),
        "proc/driver/nvidia-caps/sys-minors": text(f"fabric-imex-mgmt {IMEX_MANAGEMENT_MINOR}"),
    }


def capability(minor: int, mode: int) -> File:
    """Return a capability file; its mode is that of the device node it stands for, in decimal inside."""
    return File(f"DeviceFileMinor: {minor}\nDeviceFileMode: {mode}\nDeviceFileModify: 1\n".encode(), mode)


def instance_minor(gpu_minor: int, gpu_instance: int, compute_instance: int | None = None) -> int:
    """Return the minor of an instance's capability, as `mig_minors` lists it."""
    first = _FIRST_GPU_MINOR + (gpu_minor * _GPU_INSTANCES + gpu_instance) * _INSTANCE_MINORS
    return first if compute_instance is None else first + 1 + compute_instance


@cache
def mig_minors() -> str:
    """Return the static table of MIG capability minors: it names instances whether they exist or not."""
    lines = [f"config {MIG_CONFIG_MINOR}", f"monitor {MIG_MONITOR_MINOR}"]
    minor = _FIRST_GPU_MINOR
    for gpu in range(_GPUS):
        for instance in range(_GPU_INSTANCES):
            lines.append(f"gpu{gpu}/gi{instance}/access {minor}")
            compute = range(_COMPUTE_INSTANCES)
            lines.extend(f"gpu{gpu}/gi{instance}/ci{each}/access {minor + 1 + each}" for each in compute)
            minor += _INSTANCE_MINORS
    return "".join(f"{line}\n" for line in lines)


def _nvswitch_files(nvswitches: tuple[NvSwitch, ...]) -> Tree:
    if not nvswitches:
        return {}
    root = "proc/driver/nvidia-nvswitch"
    tree: Tree = {
        f"{root}/permissions": File(b"DeviceFileMinor: 255\nDeviceFileMode: 438\nDeviceFileModify: 1\n")
    }
    for nvswitch in nvswitches:
        identity = f"UUID: {nvswitch.uuid}\nPhysical location ID: {nvswitch.physical_id}\n"
        information = File(f"BIOS Version: 96.10.6D.00.01\n{identity}".encode())
        tree[f"{root}/devices/{nvswitch.pci}/information"] = information
    return tree
