"""Names and numbers of instances: computed, because drivers compute them."""

from __future__ import annotations

import uuid

from claimwright.emulator.model.mig.placements import Placement
from claimwright.emulator.model.mig.profiles import ComputeProfile, GpuInstanceProfile, MigSpec, Variant

_SPACE = uuid.uuid5(uuid.NAMESPACE_DNS, "mig.claimwright.emulator")
_EIGHTHS = 8
_ATTRIBUTES = {
    Variant.ME: "+me",
    Variant.GFX: "+gfx",
    Variant.NO_ME: "-me",
    Variant.ALL_ME: "+me.all",
}


def memory_gb(memory_mib: int, total_mib: int) -> int:
    """Return the number in a profile's name: its share in eighths of the board's memory (go-nvlib's rule)."""
    eighths = -(-memory_mib * _EIGHTHS // total_mib)
    total_gib = -(-total_mib // 1024)
    return (2 * eighths * total_gib + _EIGHTHS) // (2 * _EIGHTHS)  # half goes up, as in Go's math.Round


def profile_name(profile: GpuInstanceProfile, total_mib: int) -> str:
    """Return `3g.40gb`, `1g.10gb+me`: the name on a board of `total_mib` frame buffer."""
    computed = f"{profile.slices}g.{memory_gb(profile.memory_mib, total_mib)}gb"
    return profile.name or f"{computed}{_ATTRIBUTES.get(profile.variant, '')}"


def compute_profile_name(compute: ComputeProfile, instance: GpuInstanceProfile, total_mib: int) -> str:
    """Return `1c.3g.40gb`, or the GPU instance's name when the compute instance takes all of it."""
    name = profile_name(instance, total_mib)
    return name if compute.slices == instance.slices else f"{compute.slices}c.{name}"


def gpu_instance_id(spec: MigSpec, placement: Placement) -> int:
    """Number placements like a heap: the whole is 0, halves 1 and 2, quarters 3 to 6, single slots from 7.

    A half is half of the board's memory slices: on a board of four, a single slot is a quarter, 3 to 6.
    """
    parts = spec.memory_slices // placement.size
    return parts - 1 + placement.start // placement.size


def mig_uuid(gpu_uuid: str, profile: int, placement: Placement, compute: tuple[int, int, int]) -> str:
    """Return `MIG-8-4-4-4-12`, the same for the same GPU, GPU instance (profile, place) and compute instance.

    `compute` is the compute instance's profile, start and id. On hardware too the UUID comes back with the layout.
    """
    layout = f"{gpu_uuid}/{profile}@{placement}/{compute[0]}@{compute[1]}#{compute[2]}"
    return f"MIG-{uuid.uuid5(_SPACE, layout)}"
