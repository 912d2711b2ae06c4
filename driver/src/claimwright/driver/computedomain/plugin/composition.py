"""The ComputeDomain plugin as a whole: what it is made of, and the order in which the parts start and stop."""

from __future__ import annotations

import asyncio
import functools
import logging
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Final

from claimwright.dra.plugin import Plugin, PluginError, PluginFolders
from claimwright.driver import recent_errors
from claimwright.driver.claim_driver import OnFailure
from claimwright.driver.computedomain.plugin.clique_label import CliqueLabel
from claimwright.driver.computedomain.plugin.cliques import CliqueBook, clique_of
from claimwright.driver.computedomain.plugin.doors import DomainDoors, open_doors
from claimwright.driver.computedomain.plugin.driver import DomainDriver
from claimwright.driver.computedomain.plugin.edits import channel_major
from claimwright.driver.computedomain.plugin.patience import Patience
from claimwright.driver.computedomain.plugin.planning import (
    DEVICE_TYPES,
    DomainPlanner,
    explain_taken,
    pool_of,
)
from claimwright.driver.computedomain.plugin.repertoire import domains, installation, management, toolbox
from claimwright.driver.computedomain.plugin.settings import DomainPluginSettings
from claimwright.driver.computedomain.plugin.steps import ManagementSpec
from claimwright.driver.computedomain.plugin.steps.management_spec import management_file
from claimwright.driver.computedomain.plugin.sweeping import sweep_folders
from claimwright.driver.computedomain.plugin.taking_over import DomainTakeOver
from claimwright.driver.custody import Custody
from claimwright.driver.errors import NodeUnusable, StepFailed
from claimwright.driver.leaving import leave
from claimwright.driver.machine import Machine
from claimwright.driver.metrics import Metrics
from claimwright.driver.plugin_process import Report, in_background, run_plugin, serve_probes
from claimwright.driver.ports import NodeReading
from claimwright.driver.recent_errors import RecentErrors
from claimwright.driver.recovering import recover, remembered
from claimwright.driver.sweeping import INTERVAL_SECONDS, Sweeper
from claimwright.driver.tools.claim_spec import kind_of

logger = logging.getLogger(__name__)
_PREDECESSOR_SECONDS: Final = 60.0
_STOP_SECONDS: Final = 20.0
# nvidia-imex of older drivers knows no names in its list of nodes.
_NAMES_GATE: Final = "IMEXDaemonsWithDNSNames"
_NAMES_SINCE: Final = (570, 158, 1)


async def run(settings: DomainPluginSettings) -> None:
    """Run until a signal; NodeUnusable or PluginError when it cannot go on."""
    doors = open_doors(settings)
    await run_plugin(settings, lambda failure: domain_plugin(settings, doors, failure))


def _leave(settings: DomainPluginSettings) -> None:
    """Leave the node; where no claim is held, no file stays."""
    leave(settings)
    if not settings.plugin_dir.exists():
        management_file(settings.cdi_root).unlink(missing_ok=True)


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


@asynccontextmanager
async def domain_plugin(
    settings: DomainPluginSettings, doors: DomainDoors, failure: Report
) -> AsyncIterator[Plugin]:
    """Run the plugin within this context: discover, recover, serve, publish; in reverse at the end."""
    async with AsyncExitStack() as parts:
        custody = Custody(settings.plugin_dir, shared=bool(settings.pod_uid))
        parts.push_async_callback(custody.end, leave=functools.partial(_leave, settings))
        await custody.begin(timeout_seconds=_PREDECESSOR_SECONDS)
        node = await _known_node(settings, doors)
        parts.push_async_callback(node.machine.stop, timeout_seconds=_STOP_SECONDS)
        patience = Patience(doors.clock, in_charge=lambda: node.machine.in_charge)
        plugin = _plugin(node, patience, custody, failure)
        custody.settle(gain=functools.partial(_go_on, node), lose=node.machine.suspend)
        await plugin.start()
        parts.push_async_callback(plugin.stop, grace_seconds=_STOP_SECONDS)
        parts.callback(patience.close)
        await _keep(parts, node, plugin)
        await serve_probes(parts, settings, plugin, node.metrics)
        yield plugin


async def _known_node(settings: DomainPluginSettings, doors: DomainDoors) -> Node:
    """Look at the node, and recover what a crash interrupted."""
    reading = await asyncio.to_thread(doors.nvml.read)
    _check_driver(settings, reading)
    cliques = CliqueBook(doors.nvml, settings.feature_gates, clique_of(reading, settings.feature_gates))
    logger.info("identified fabric clique %r on node %s", cliques.clique, settings.node_name)
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
    await _sweep_folders(node)
    if not node.settings.host_managed:
        try:
            await asyncio.to_thread(node.spec.write)
        except (StepFailed, OSError) as error:
            logger.warning("the spec for daemons is not written yet, the first daemon needs it: %s", error)


async def _sweep_folders(node: Node) -> None:
    known = domains(node.settings, node.doors)
    await asyncio.to_thread(sweep_folders, node.settings.domains_dir, node.machine, known)


async def _go_on(node: Node) -> None:
    """Go on with what another instance left."""
    take_over = DomainTakeOver(node.planner)
    journal, entries = await remembered(node.settings, node.doors, node.planner, take_over, over_boots=True)
    node.machine.resume(journal, entries)
    await _recover(node)


def _check_driver(settings: DomainPluginSettings, reading: NodeReading) -> None:
    """Refuse a driver whose nvidia-imex cannot be told of its peers as daemons tell it."""
    version = tuple(int(part) for part in reading.driver_version.split(".") if part.isdecimal())
    needed = not settings.host_managed and settings.feature_gates[_NAMES_GATE]
    logger.info("driver version validation: %s", reading.driver_version)
    if needed and version < _NAMES_SINCE:
        raise NodeUnusable(
            f"driver {reading.driver_version} is older than 570.158.01, whose nvidia-imex knows its peers by name: "
            f"install a newer one, or set the feature gates ComputeDomainCliques=false,{_NAMES_GATE}=false"
        )


def _check_channels(doors: DomainDoors, clique: str) -> None:
    if clique:
        try:
            channel_major(doors.host)
        except StepFailed as error:
            raise NodeUnusable(str(error)) from error


def _plugin(node: Node, patience: Patience, custody: Custody, failure: Report) -> Plugin:
    settings = node.settings
    recent = RecentErrors(settings.plugin_dir / recent_errors.NAME, node.doors.clock)
    driver = DomainDriver(
        node.planner, node.machine, node.metrics, patience, on_failure=recent.add, held=custody.held
    )
    return Plugin(
        settings.driver,
        settings.node_name,
        driver,
        kube=node.doors.kube,
        folders=PluginFolders(settings.plugin_dir, settings.registry_dir, settings.cdi_root),
        publish=pool_of(settings.node_name, host_managed=settings.host_managed),
        instance=settings.pod_uid or None,
        serialize=False,  # channels wait for daemons, so one must not keep the other from being prepared
        on_error=_reporter(node.metrics, recent.add, failure),
        on_read=functools.partial(node.metrics.step, "claim", "read"),
    )


def _reporter(metrics: Metrics, remember: OnFailure, failure: Report) -> Report:
    loop = asyncio.get_running_loop()

    def report(error: PluginError) -> None:
        metrics.publishing_failed()
        loop.call_soon_threadsafe(remember, "publish", "resourceslices", error)
        logger.error("%s", error)
        if not error.recoverable:
            failure(error)

    return report


async def _keep(parts: AsyncExitStack, node: Node, plugin: Plugin) -> None:
    """Keep true what the node says of itself, and release what was forgotten."""
    label = CliqueLabel(node.doors.kube, node.settings.node_name, lambda: node.cliques.clique)
    if node.settings.gpu_clique_label:
        parts.push_async_callback(_unlabel, node, label)
    await parts.enter_async_context(in_background("keeping", _keep_true(node, label)))
    kind = kind_of(node.settings.driver)
    sweeper = Sweeper(node.machine, node.doors.kube, node.settings.cdi_root, node.doors.clock, kind=kind)
    await parts.enter_async_context(in_background("sweeper", sweeper.run()))
    plugin.on_kubelet_again(sweeper.kubelet_came)


async def _unlabel(node: Node, label: CliqueLabel) -> None:
    """Take the label away, unless another instance has the node by now and keeps it."""
    if node.machine.in_charge:
        await label.remove()


async def _keep_true(node: Node, label: CliqueLabel) -> None:
    while True:
        if node.settings.gpu_clique_label:
            await label.refresh()
        await node.doors.clock.sleep(INTERVAL_SECONDS)
        await asyncio.to_thread(node.cliques.reread)
        await _sweep_folders(node)
