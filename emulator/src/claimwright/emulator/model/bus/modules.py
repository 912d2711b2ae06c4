"""Kernel modules that an emulated node can load: dependencies, sizes as /proc/modules prints them, parameters."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Parameter:
    """A file below /sys/module/<name>/parameters: `bool` prints Y or N, `uint` a number."""

    kind: str
    value: str
    mode: int = 0o444


@dataclass(frozen=True, slots=True)
class ModuleSpec:
    """One module; `versioned` ones carry the version of the NVIDIA driver."""

    name: str
    size_bytes: int
    needs: tuple[str, ...] = ()
    versioned: bool = False
    parameters: Mapping[str, Parameter] = field(default_factory=dict)


_OFF, _WRITABLE_OFF = Parameter("bool", "N"), Parameter("bool", "N", 0o644)
_SPECS = (
    ModuleSpec("nvidia", 97120256, (), versioned=True),
    ModuleSpec("nvidia_modeset", 1814528, ("nvidia",), versioned=True),
    ModuleSpec("nvidia_uvm", 4739072, ("nvidia",), versioned=True),
    ModuleSpec(
        "nvidia_drm",
        131072,
        ("nvidia_modeset",),
        versioned=True,
        parameters={"modeset": Parameter("bool", "Y", 0o400), "fbdev": Parameter("bool", "Y", 0o400)},
    ),
    ModuleSpec("nvidia_peermem", 16384, ("nvidia",), versioned=True),
    ModuleSpec("nvidia_vgpu_vfio", 118784, ("nvidia", "vfio_pci_core"), versioned=True),
    ModuleSpec("mdev", 24576),
    ModuleSpec("mlx5_core", 2584576),
    ModuleSpec("mlx5_ib", 540672, ("mlx5_core",)),
    ModuleSpec("snd_hda_intel", 61440),
    ModuleSpec("iommufd", 98304),
    ModuleSpec(
        "vfio", 69632, ("iommufd",), parameters={"enable_unsafe_noiommu_mode": Parameter("bool", "N", 0o644)}
    ),
    ModuleSpec(
        "vfio_iommu_type1",
        49152,
        ("vfio",),
        parameters={
            "allow_unsafe_interrupts": _WRITABLE_OFF,
            "disable_hugepages": _WRITABLE_OFF,
            "dma_entry_limit": Parameter("uint", "65535", 0o644),
        },
    ),
    ModuleSpec("vfio_pci_core", 94208, ("vfio",)),
    ModuleSpec(
        "vfio_pci",
        16384,
        ("vfio_pci_core",),
        parameters={
            "disable_denylist": _OFF,
            "disable_idle_d3": _WRITABLE_OFF,
            "disable_vga": _OFF,
            "enable_sriov": _WRITABLE_OFF,
            "nointxmask": _WRITABLE_OFF,
        },
    ),
    ModuleSpec("nvgrace_gpu_vfio_pci", 24576, ("vfio_pci_core",)),
)
MODULES = {spec.name: spec for spec in _SPECS}


def with_needed(names: Iterable[str]) -> Iterator[str]:
    """Yield these modules and what they need, each once, needed ones first: the order in which modprobe loads them."""
    seen: set[str] = set()
    for name in names:
        for each in (*with_needed(MODULES[name].needs), name):
            if each not in seen:
                seen.add(each)
                yield each


def users(name: str, loaded: Iterable[str]) -> tuple[str, ...]:
    """Return the loaded modules that need this one."""
    return tuple(each for each in loaded if name in MODULES[each].needs)
