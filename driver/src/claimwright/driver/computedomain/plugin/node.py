"""What the plugin knows of its node, recovered before anybody is served."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass
from typing import Final

from claimwright.driver.computedomain.plugin.cliques import CliqueBook, clique_of
from claimwright.driver.computedomain.plugin.doors import DomainDoors
from claimwright.driver.computedomain.plugin.edits import channel_major
from claimwright.driver.computedomain.plugin.planning import DEVICE_TYPES, DomainPlanner, explain_taken
from claimwright.driver.computedomain.plugin.repertoire import domains, installation, management, toolbox
from claimwright.driver.computedomain.plugin.settings import DomainPluginSettings
from claimwright.driver.computedomain.plugin.steps import ManagementSpec
from claimwright.driver.computedomain.plugin.sweeping import sweep_folders
from claimwright.driver.computedomain.plugin.taking_over import DomainTakeOver
from claimwright.driver.errors import NodeUnusable, StepFailed
from claimwright.driver.machine import Machine
from claimwright.driver.metrics import Metrics
from claimwright.driver.recovering import recover, remembered

logger = logging.getLogger(__name__)
# nvidia-imex of older drivers knows no names in its list of nodes.
_NAMES_GATE: Final = "IMEXDaemonsWithDNSNames"
_NAMES_SINCE: Final = (570, 158, 1)


@dataclass(frozen=True)
class Node:
    """What the plugin knows of its node and does there."""

    settings: DomainPluginSettings
    doors: DomainDoors
    cliques: CliqueBook
    spec: ManagementSpec
    metrics: Metrics
    planner: DomainPlanner
    machine: Machine


async def known_node(settings: DomainPluginSettings, doors: DomainDoors) -> Node:
    """Look at the node, and recover what a crash interrupted."""
    reading = await asyncio.to_thread(doors.nvml.read)
    cliques = CliqueBook(doors.nvml, settings.feature_gates, clique_of(reading, settings.feature_gates))
    logger.info("identified fabric clique %r on node %s", cliques.clique, settings.node_name)
    _check_driver(settings, reading.driver_version, cliques.clique)
    _check_channels(doors, cliques.clique)
    metrics = Metrics(settings.driver, settings.node_name, DEVICE_TYPES)
    here = installation(settings, doors, reading.driver_version)
    spec = management(settings, here, doors)
    planner = DomainPlanner(settings, lambda: cliques.clique)
    able = toolbox(settings, doors, here, spec, lambda: cliques.clique)
    journal, entries = await remembered(settings, doors, planner, DomainTakeOver(planner), over_boots=True)
    machine = Machine(
        journal, able, entries, on_change=metrics.count_devices, on_step=metrics.step, explain=explain_taken
    )
    node = Node(settings, doors, cliques, spec, metrics, planner, machine)
    await _recover(node)
    return node


async def _recover(node: Node) -> None:
    await recover(node.settings, node.doors, node.machine)
    await sweep_unknown(node)
    if not node.settings.host_managed:
        try:
            await asyncio.to_thread(node.spec.write)
        except (StepFailed, OSError) as error:
            logger.warning("the spec for daemons is not written yet, the first daemon needs it: %s", error)


async def sweep_unknown(node: Node) -> None:
    """Remove folders of daemons that are over."""
    known = domains(node.settings, node.doors)
    await asyncio.to_thread(sweep_folders, node.settings.domains_dir, node.machine, known)


async def go_on(node: Node) -> None:
    """Go on with what another instance left."""
    take_over = DomainTakeOver(node.planner)
    journal, entries = await remembered(node.settings, node.doors, node.planner, take_over, over_boots=True)
    node.machine.resume(journal, entries)
    await _recover(node)


def _check_driver(settings: DomainPluginSettings, driver_version: str, clique: str) -> None:
    """Refuse a driver whose nvidia-imex cannot be told of its peers as daemons tell it; without a fabric none runs."""
    version = tuple(int(part) for part in driver_version.split(".") if part.isdecimal())
    needed = bool(clique) and not settings.host_managed and settings.feature_gates[_NAMES_GATE]
    logger.info("driver version validation: %s", driver_version)
    if needed and version < _NAMES_SINCE:
        raise NodeUnusable(
            f"driver {driver_version} is older than 570.158.01, whose nvidia-imex knows its peers by name: "
            f"install a newer one, or set the feature gates ComputeDomainCliques=false,{_NAMES_GATE}=false"
        )


def _check_channels(doors: DomainDoors, clique: str) -> None:
    if clique:
        try:
            channel_major(doors.host)
        except StepFailed as error:
            raise NodeUnusable(str(error)) from error
