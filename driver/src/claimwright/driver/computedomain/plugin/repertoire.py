"""What this plugin can do on its node: its steps, and what containers get of it."""

from __future__ import annotations

from collections.abc import Callable

from claimwright.driver.adapters import HostTree
from claimwright.driver.computedomain.plugin import edits
from claimwright.driver.computedomain.plugin.domains import Domains
from claimwright.driver.computedomain.plugin.doors import DomainDoors
from claimwright.driver.computedomain.plugin.settings import DomainPluginSettings
from claimwright.driver.computedomain.plugin.steps import (
    DomainFolderTool,
    HostImexTool,
    ManagementSpec,
    ManagementSpecTool,
    NodeLabelTool,
    ReadinessTool,
)
from claimwright.driver.driver_root import choose_device_root
from claimwright.driver.edits import EditBook, Installation
from claimwright.driver.edits.book import EditMaker
from claimwright.driver.edits.driver_files import DriverFiles
from claimwright.driver.own_hook import own_hook
from claimwright.driver.steps import Toolbox
from claimwright.driver.tools.claim_spec import ClaimSpecTool, kind_of

Clique = Callable[[], str]


def installation(settings: DomainPluginSettings, doors: DomainDoors, driver_version: str) -> Installation:
    """Return where the driver's files are."""
    inside = HostTree(doors.root.readable)
    return Installation(
        root=doors.root,
        devices=choose_device_root(doors.root, inside=inside, host=doors.host),
        host=doors.host,
        driver_version=driver_version,
        hook=own_hook(settings, doors.root),
    )


def management(settings: DomainPluginSettings, here: Installation, doors: DomainDoors) -> ManagementSpec:
    """Return the spec that daemons use."""
    return ManagementSpec(settings.cdi_root, here, DriverFiles(here, doors.clock))


def domains(settings: DomainPluginSettings, doors: DomainDoors) -> Domains:
    """Return who knows the domains."""
    cliques = settings.feature_gates["ComputeDomainCliques"]
    return Domains(doors.kube, settings.node_name, settings.namespace, cliques)


def toolbox(
    settings: DomainPluginSettings,
    doors: DomainDoors,
    here: Installation,
    spec: ManagementSpec,
    clique: Clique,
) -> Toolbox:
    """Return what does the steps."""
    known = domains(settings, doors)
    folders = DomainFolderTool(settings.domains_dir)
    makers: dict[str, EditMaker] = {
        edits.CHANNELS_NAME: edits.ChannelNodes(here.host),
        edits.DAEMON_NAME: edits.DaemonContainer(known, clique, folders, here.host),
    }
    return Toolbox(
        NodeLabelTool(known),
        ReadinessTool(known, clique),
        HostImexTool(known, clique, doors.root, doors.processes, settings.imex_host_socket),
        folders,
        ManagementSpecTool(spec),
        ClaimSpecTool(
            settings.cdi_root, EditBook(makers, slow=(edits.DAEMON_NAME,)), kind_of(settings.driver)
        ),
    )
