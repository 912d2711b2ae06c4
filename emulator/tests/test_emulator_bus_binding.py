"""The PCI bus: binding by the kernel's rules, and one story with NVML while devices come and go."""

from __future__ import annotations

import errno

import pytest

from claimwright.emulator.errors import KernelRefused
from claimwright.emulator.model import NodeModel, build_node, load_node_profile
from claimwright.emulator.model.bus import Leaving, PciId
from claimwright.emulator.model.operations import bus, gpus

GPU = "0000:53:00.0"


@pytest.fixture
def model() -> NodeModel:
    return NodeModel(build_node(load_node_profile("hgx-h100"), "node-a"))


def refused(number: int) -> pytest.RaisesExc[KernelRefused]:
    return pytest.RaisesExc(KernelRefused, check=lambda error: error.errno == number)


def listed(model: NodeModel) -> list[int]:
    return [gpu.minor for gpu in model.snapshot().nvml_gpus]


def driver(model: NodeModel, function: str = GPU) -> str | None:
    state = model.snapshot()
    return next(each.driver for address, each in state.bus.functions.items() if str(address) == function)


def test_a_gpu_on_vfio_leaves_nvml_and_comes_back_with_its_minor(model: NodeModel) -> None:
    model.perform(bus.move_to_driver, GPU, "vfio-pci")

    assert listed(model) == [1, 2, 3, 4, 5, 6, 7]
    model.perform(bus.move_to_driver, GPU, None)
    assert listed(model) == list(range(8))


def test_the_steps_of_a_dra_driver_bind_to_vfio(model: NodeModel) -> None:
    model.perform(bus.unbind, GPU)
    model.perform(bus.set_driver_override, GPU, "vfio-pci")
    present = model.perform(bus.bind, GPU, "vfio-pci")

    assert present is not None
    assert (present.driver, present.vfio_device) == ("vfio-pci", 0)


def test_bind_of_a_bound_function_is_busy_and_of_a_stranger_no_device(model: NodeModel) -> None:
    with refused(errno.EBUSY):
        model.perform(bus.bind, GPU, "nvidia")
    with refused(errno.ENODEV):
        model.perform(bus.bind, GPU, "vfio-pci")  # it matches by override only
    with refused(errno.ENODEV):
        model.perform(bus.bind, "0000:99:00.0", "nvidia")
    with refused(errno.ENODEV):
        model.perform(bus.unbind, GPU, "vfio-pci")


def test_an_unbind_waits_for_the_last_holder(model: NodeModel) -> None:
    model.perform(gpus.start_process, 0, 7, "train", 1)
    model.perform(bus.open_gpu, GPU, 8)

    present = model.perform(bus.unbind, GPU)
    assert present is not None
    assert present.leaving is Leaving.UNBIND
    model.perform(gpus.stop_process, 0, 7)
    assert driver(model) == "nvidia"
    model.perform(bus.close_devices, 8)
    assert driver(model) is None
    assert listed(model) == [1, 2, 3, 4, 5, 6, 7]


def test_persistence_mode_holds_a_gpu(model: NodeModel) -> None:
    model.perform(gpus.set_persistence_mode, 0, enabled=True)

    model.perform(bus.unbind, GPU)
    assert driver(model) == "nvidia"
    model.perform(gpus.set_persistence_mode, 0, enabled=False)
    assert driver(model) is None


def test_the_unbind_lock_is_had_by_idle_gpus_only_and_keeps_users_out(model: NodeModel) -> None:
    model.perform(bus.open_gpu, GPU, 8)
    assert not model.perform(bus.set_unbind_lock, GPU, locked=True)
    model.perform(bus.close_devices, 8)

    assert model.perform(bus.set_unbind_lock, GPU, locked=True)
    with refused(errno.ENODEV):
        model.perform(bus.open_gpu, GPU, 8)


def test_a_removed_function_is_found_again_by_a_rescan(model: NodeModel) -> None:
    group = model.snapshot().bus.functions[model.snapshot().gpus[0].pci].iommu_group

    assert model.perform(bus.remove, GPU) is None
    assert listed(model) == [1, 2, 3, 4, 5, 6, 7]
    assert model.perform(bus.rescan) == (GPU,)
    assert listed(model) == list(range(8))
    assert model.snapshot().bus.functions[model.snapshot().gpus[0].pci].iommu_group == group


def test_removing_a_bridge_takes_all_behind_it_and_waits_for_users(model: NodeModel) -> None:
    bridge = str(model.snapshot().function(model.snapshot().gpus[0].pci).path[1])
    model.perform(bus.open_gpu, GPU, 8)

    model.perform(bus.remove, bridge)
    assert driver(model) == "nvidia"
    model.perform(bus.close_devices, 8)

    present = {str(address) for address in model.snapshot().bus.functions}
    assert not {bridge, GPU} & present
    assert GPU in model.perform(bus.rescan)


def test_a_pulled_card_is_gone_with_its_users(model: NodeModel) -> None:
    model.perform(gpus.start_process, 0, 7, "train", 1)

    model.perform(bus.pull, GPU)

    assert model.snapshot().gpus[0].processes == ()
    assert listed(model) == [1, 2, 3, 4, 5, 6, 7]


def test_modules_hold_each_other_and_give_their_devices_back(model: NodeModel) -> None:
    with refused(errno.EAGAIN):
        model.perform(bus.unload_module, "nvidia")
    for module in ("nvidia_uvm", "nvidia_modeset", "nvidia"):
        model.perform(bus.unload_module, module)
    assert listed(model) == []
    with refused(errno.ENOENT):
        model.perform(bus.bind, GPU, "nvidia")

    model.perform(bus.load_module, "nvidia")
    assert listed(model) == list(range(8))
    with refused(errno.ENOENT):
        model.perform(bus.load_module, "nothing")


def test_a_group_has_one_opener_and_no_device_of_it_is_open_beside(model: NodeModel) -> None:
    model.perform(bus.move_to_driver, GPU, "vfio-pci")
    group = model.snapshot().bus.functions[model.snapshot().gpus[0].pci].iommu_group
    assert group is not None

    model.perform(bus.open_vfio_device, 0, 9)
    with refused(errno.EBUSY):
        model.perform(bus.open_vfio_group, group, 10)
    model.perform(bus.close_devices, 9)
    model.perform(bus.open_vfio_group, group, 10)
    with refused(errno.EBUSY):
        model.perform(bus.open_vfio_group, group, 11)
    with refused(errno.EBUSY):
        model.perform(bus.move_to_driver, GPU, None)


def test_dynamic_ids_bind_what_is_free(model: NodeModel) -> None:
    model.perform(bus.unbind, GPU)

    model.perform(bus.add_dynamic_id, "vfio-pci", PciId(0x10DE, 0x2330))

    assert driver(model) == "vfio-pci"
    with refused(errno.EEXIST):
        model.perform(bus.add_dynamic_id, "vfio-pci", PciId(0x10DE, 0x2330))
    model.perform(bus.remove_dynamic_id, "vfio-pci", PciId(0x10DE, 0x2330))
    with refused(errno.ENODEV):
        model.perform(bus.remove_dynamic_id, "vfio-pci", PciId(0x10DE, 0x2330))


@pytest.mark.parametrize(("node", "said"), [(1, 1), (-1, -1)])
def test_a_numa_node_can_be_set(model: NodeModel, node: int, said: int) -> None:
    assert model.perform(bus.set_numa_node, GPU, node).numa_node == said
    with refused(errno.EINVAL):
        model.perform(bus.set_numa_node, GPU, 2)
