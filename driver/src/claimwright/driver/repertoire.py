"""What this driver can do: its recipes (kinds of devices), its tools (kinds of steps), its edits (what containers get).

A new one of any of them is a module in its folder and a line here.
"""

from __future__ import annotations

from pathlib import Path

from claimwright.driver.adapters import HostTree
from claimwright.driver.doors import Doors
from claimwright.driver.driver_root import choose_device_root
from claimwright.driver.edits import (
    EditBook,
    Installation,
    driver_files,
    gpu_node,
    mig_node,
    mps_client,
    vfio_node,
    vgpu_node,
)
from claimwright.driver.edits.driver_files import DriverFiles
from claimwright.driver.edits.gpu_node import GpuNode
from claimwright.driver.edits.mig_node import MigNode
from claimwright.driver.edits.mps_client import MpsClient
from claimwright.driver.edits.vfio_node import VfioNode
from claimwright.driver.edits.vgpu_node import VgpuNode
from claimwright.driver.feature_gates import FeatureGates
from claimwright.driver.free_functions import FreeFunctions
from claimwright.driver.holdings import Holdings
from claimwright.driver.inventory import Inventory
from claimwright.driver.mps.daemon import MpsDaemons
from claimwright.driver.own_hook import own_hook
from claimwright.driver.ports import Clock, Partitions
from claimwright.driver.recipes import DynamicMig, FullGpus, MdevVgpus, SriovVgpus, StaticMig, VfioGpus
from claimwright.driver.recipes.recipe import AnyRecipe
from claimwright.driver.settings import GpuPluginSettings
from claimwright.driver.shares import NO_SHARES, Shares
from claimwright.driver.steps import Toolbox
from claimwright.driver.tools.claim_spec import ClaimSpecTool
from claimwright.driver.tools.community_mps import CommunityMpsTool
from claimwright.driver.tools.compute_mode import ComputeModeTool
from claimwright.driver.tools.device_users import DeviceUsers
from claimwright.driver.tools.fabric_partition import FabricPartitionTool
from claimwright.driver.tools.mdev import MdevTool
from claimwright.driver.tools.mig_mode import MigModeTool
from claimwright.driver.tools.mig_partition import MigPartitionTool
from claimwright.driver.tools.mps_daemon import MpsDaemonTool
from claimwright.driver.tools.nvidia_smi import NvidiaSmi
from claimwright.driver.tools.pci_drivers import PciDrivers
from claimwright.driver.tools.persistence import PersistenceTool
from claimwright.driver.tools.sriov_functions import SriovFunctionsTool
from claimwright.driver.tools.time_slice import TimeSliceTool
from claimwright.driver.tools.vfio_bind import VfioBindTool
from claimwright.driver.tools.vfio_modules import VfioModules
from claimwright.driver.tools.vgpu_type import VgpuTypeTool
from claimwright.driver.tools.vgpu_users import VgpuUsers


def recipes(
    gates: FeatureGates, shares: Shares = NO_SHARES, functions: FreeFunctions | None = None
) -> tuple[AnyRecipe, ...]:
    """Return the recipes of this driver; devices are published in their order.

    `functions` is for those who prepare: it chooses the virtual functions of vGPUs.
    """
    return (
        FullGpus(gates, shares),
        StaticMig(gates, shares),
        DynamicMig(gates, shares),
        MdevVgpus(gates),
        SriovVgpus(gates, functions),
        VfioGpus(gates),
    )


def edits(installation: Installation, partitions: Partitions, clock: Clock, mps_dir: Path) -> EditBook:
    """Return what containers may get."""
    return EditBook(
        {
            driver_files.NAME: DriverFiles(installation, clock),
            gpu_node.NAME: GpuNode(installation),
            mig_node.NAME: MigNode(installation, partitions),
            vfio_node.NAME: VfioNode(installation.host),
            mps_client.NAME: MpsClient(mps_dir),
            vgpu_node.NAME: VgpuNode(installation.host),
        },
        slow=(mig_node.NAME, vfio_node.NAME, vgpu_node.NAME),  # they ask NVML, or sysfs of what was just made
    )


def tools(settings: GpuPluginSettings, doors: Doors, book: EditBook, holdings: Holdings) -> Toolbox:
    """Return what does the steps."""
    modules = VfioModules(doors.host, doors.processes, settings.host_root)
    users = DeviceUsers(doors.host, doors.usage)
    nvidia_smi = NvidiaSmi(doors.root, doors.processes)
    vgpu_users = VgpuUsers(doors.vgpus, users)
    return Toolbox(
        ClaimSpecTool(settings.cdi_root, book),
        ComputeModeTool(nvidia_smi),
        MdevTool(doors.host, vgpu_users),
        MigModeTool(doors.partitions),
        MigPartitionTool(doors.partitions),
        TimeSliceTool(nvidia_smi),
        PersistenceTool(doors.usage),
        mps_tool(settings, doors),
        SriovFunctionsTool(doors.host, holdings),
        VfioBindTool(doors.host, PciDrivers(doors.host), modules, users),
        VgpuTypeTool(doors.host, vgpu_users),
        FabricPartitionTool(doors.fabric),
        CommunityMpsTool(doors.kube, settings.namespace, settings.mps_dir, doors.processes, nvidia_smi),
    )


def toolbox(
    settings: GpuPluginSettings, doors: Doors, inventory: Inventory, holdings: Holdings | None = None
) -> Toolbox:
    """Return what does the steps on this node; `holdings` tells what claims hold already."""
    installation = _installation(settings, doors, inventory)
    book = edits(installation, doors.partitions, doors.clock, settings.mps_dir)
    return tools(settings, doors, book, holdings or Holdings())


def mps_tool(settings: GpuPluginSettings, doors: Doors) -> MpsDaemonTool:
    """Return the step that keeps a daemon of MPS; after a crash it also sweeps those of no claim."""
    daemons = MpsDaemons(doors.root, doors.processes, doors.mounts)
    return MpsDaemonTool(settings.mps_dir, daemons, doors.mounts, doors.host, doors.partitions)


def _installation(settings: GpuPluginSettings, doors: Doors, inventory: Inventory) -> Installation:
    inside = HostTree(doors.root.readable)
    return Installation(
        root=doors.root,
        devices=choose_device_root(doors.root, inside=inside, host=doors.host),
        host=doors.host,
        driver_version=inventory.driver_version,
        hook=own_hook(settings, doors.root),
    )
