"""A node's state as plain data for programs: `node inspect --json` and the answers of the control socket."""

from __future__ import annotations

from typing import Any

from claimwright.emulator.model import Board, GpuState, Nic, NodeState, NvSwitch
from claimwright.emulator.model.bus.binding import holders
from claimwright.emulator.model.fabric import Fabric, FabricManager, nvlink_matrix
from claimwright.emulator.model.faults import ActiveFault
from claimwright.emulator.model.mig import GpuInstance, MigSpec, compute_profile_name, profile_name
from claimwright.emulator.model.vgpu import Vgpu, type_of
from claimwright.emulator.plain_data import plain


def describe(state: NodeState) -> dict[str, Any]:
    """Return all that a program may ask about a node; addresses in the kernel's form, sizes in bytes."""
    roots = {function.address: function.root for function in state.functions}
    return {
        "emulated": True,
        "name": state.name,
        "profile": state.profile,
        "title": state.title,
        "revision": state.revision,
        "driver_version": state.driver_version,
        "cuda_driver_version": state.cuda_driver_version,
        "boot_id": state.boot_id,
        "numa": [plain(node) for node in state.numa],
        "pcie": _pcie(state),
        "gpus": [
            {**describe_gpu(gpu), **_binding(state, gpu), "pcie_root": roots[gpu.pci]} for gpu in state.gpus
        ],
        "nvlink_matrix": nvlink_matrix(state.gpus, state.fabric_manager),
        "fabric_manager": _manager(state.fabric_manager),
        "tray": plain(state.tray),
        "imex": plain(state.imex),
        "imex_channels": {
            "count": state.imex_channels.count,
            "create_channel0": state.imex_channels.create_channel0,
            "nodes": sorted(state.imex_channels.nodes),
        },
        "nvswitches": [_nvswitch(each) for each in state.nvswitches],
        "nics": [{**_nic(each), "pcie_root": roots[each.pci]} for each in state.nics],
        "modules": list(state.bus.modules),
        "mediated_devices": plain(state.mediated),
        "vgpu_manager": state.vgpu_manager,
        "vgpus": [_vgpu(state, each) for each in state.vgpus],
        "driver_condition": state.driver_condition.value,
        "faults": [_fault(each) for each in state.faults],
        "unverified": list(state.unverified),
    }


def _binding(state: NodeState, gpu: GpuState) -> dict[str, Any]:
    """Say which driver a GPU is on, who keeps that from letting go, and whether somebody waits for it to."""
    present = state.bus.functions.get(gpu.pci)
    return {
        "driver": state.bus.driver_of(gpu.pci),
        "held_by": list(holders(state, gpu.pci)),
        "leaving": present is not None and present.leaving is not None,
        "iommu_group": None if present is None else present.iommu_group,
    }


def _vgpu(state: NodeState, vgpu: Vgpu) -> dict[str, Any]:
    kind = type_of(state.gpus[vgpu.gpu].board.vgpu, vgpu.type_id)
    return {**plain(vgpu), "type": kind.name, "framebuffer_bytes": kind.framebuffer_mib << 20}


def _fault(active: ActiveFault) -> dict[str, Any]:
    fault = active.fault
    return {
        "number": active.number,
        "name": fault.name,
        "gpu": fault.on_gpu,
        "parameters": fault.parameters(),
    }


def describe_value(value: object) -> Any:  # noqa: ANN401 - JSON
    """Return what an operation answered with: a GPU as `describe` shows it, anything else field by field."""
    return describe_gpu(value) if isinstance(value, GpuState) else plain(value)


def describe_gpu(gpu: GpuState) -> dict[str, Any]:
    """Return one GPU."""
    return {
        "index": gpu.index,
        "minor": gpu.minor,
        "uuid": gpu.uuid,
        "serial": gpu.serial,
        "board": gpu.board.key,
        "product_name": gpu.board.name,
        "architecture": gpu.board.architecture.name.lower(),
        "pci": str(gpu.pci),
        "numa_node": gpu.numa_node,
        "module_id": gpu.module_id,
        "nvml_visible": gpu.nvml_visible,
        "lost": gpu.lost,
        "recovery_action": gpu.health.recovery.name.lower(),
        "persistence_mode": gpu.persistence_mode,
        "compute_mode": gpu.compute_mode.name.lower(),
        "time_slice": gpu.time_slice.name.lower(),
        "memory_total_bytes": gpu.board.memory.total_bytes,
        "memory_used_bytes": gpu.memory_used_bytes,
        "utilization_percent": gpu.utilization.gpu,
        "temperature_celsius": gpu.temperature.gpu,
        "power_milliwatts": gpu.power.usage_milliwatts,
        "power_limit_milliwatts": gpu.power.limit_milliwatts,
        "graphics_clock_mhz": gpu.clocks.graphics,
        "performance_state": gpu.performance_state,
        "fabric": _fabric(gpu.fabric),
        "nvlinks_active": sum(link.active for link in gpu.nvlinks),
        "processes": [
            {
                "pid": each.pid,
                "name": each.name,
                "memory_bytes": each.memory_bytes,
                "kind": each.kind.value,
                "gpu_instance": each.gpu_instance,
                "compute_instance": each.compute_instance,
            }
            for each in gpu.processes
        ],
        "mig": _mig(gpu),
    }


def _mig(gpu: GpuState) -> dict[str, Any] | None:
    mig, spec = gpu.mig, gpu.board.mig
    if mig is None or spec is None:
        return None
    return {
        "current": mig.current,
        "pending": mig.pending,
        "compute_slices": spec.compute_slices,
        "memory_slices": spec.memory_slices,
        "gpu_instances": [_gpu_instance(gpu.board, spec, each) for each in mig.gpu_instances],
    }


def _gpu_instance(board: Board, spec: MigSpec, instance: GpuInstance) -> dict[str, Any]:
    profile, total = spec.by_id[instance.profile], board.memory.total_mib
    offered = spec.compute(instance.profile)
    return {
        "id": instance.id,
        "profile": profile_name(profile, total),
        "profile_id": profile.id,
        "start": instance.placement.start,
        "size": instance.placement.size,
        "memory_bytes": profile.memory_mib << 20,
        "compute_instances": [
            {
                "id": each.id,
                "profile": compute_profile_name(offered[each.profile], profile, total),
                "profile_id": each.profile,
                "start": each.placement.start,
                "size": each.placement.size,
                "uuid": each.uuid,
            }
            for each in instance.compute_instances
        ],
    }


def _fabric(fabric: Fabric | None) -> dict[str, Any] | None:
    if fabric is None:
        return None
    return {
        "state": fabric.state.name.lower(),
        "status": fabric.status,
        "cluster_uuid": fabric.cluster_uuid,
        "clique_id": fabric.clique_id,
        "clique": fabric.clique,
        "health": fabric.health.summary.name.lower(),
        "health_mask": fabric.health.mask,
    }


def _manager(manager: FabricManager | None) -> dict[str, Any] | None:
    if manager is None:
        return None
    return {
        "mode": manager.mode.value,
        "running": manager.running,
        "partitions": [
            {"id": each.id, "modules": list(each.modules), "active": each.id in manager.active}
            for each in manager.partitions
        ],
    }


def _pcie(state: NodeState) -> list[dict[str, Any]]:
    return [
        {
            "address": str(function.address),
            "kind": function.kind.value,
            "path": list(function.path),
            "physical": None if function.physical is None else str(function.physical),
            "numa_node": present.numa_node,
            "iommu_group": present.iommu_group,
            "driver": present.driver,
        }
        for function in state.present_functions
        for present in (state.bus.functions[function.address],)
    ]


def _nvswitch(nvswitch: NvSwitch) -> dict[str, Any]:
    return {"index": nvswitch.index, "uuid": nvswitch.uuid, "pci": str(nvswitch.pci)}


def _nic(nic: Nic) -> dict[str, Any]:
    return {
        "name": nic.name,
        "model": nic.model,
        "pci": str(nic.pci),
        "numa_node": nic.numa_node,
        "link_layer": nic.link_layer,
        "guid": nic.guid,
    }
