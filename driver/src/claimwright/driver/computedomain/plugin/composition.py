"""The ComputeDomain plugin as a whole: what it is made of, and the order in which the parts start and stop."""

from __future__ import annotations

import asyncio
import functools
import logging
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Final

from claimwright.dra.plugin import Plugin, PluginError, PluginFolders
from claimwright.driver import recent_errors
from claimwright.driver.claim_driver import OnFailure
from claimwright.driver.computedomain.plugin.doors import DomainDoors, open_doors
from claimwright.driver.computedomain.plugin.driver import DomainDriver
from claimwright.driver.computedomain.plugin.keeping import keep
from claimwright.driver.computedomain.plugin.node import Node, go_on, known_node
from claimwright.driver.computedomain.plugin.patience import Patience
from claimwright.driver.computedomain.plugin.planning import (
    pool_of,
)
from claimwright.driver.computedomain.plugin.settings import DomainPluginSettings
from claimwright.driver.computedomain.plugin.steps.management_spec import management_file
from claimwright.driver.custody import Custody
from claimwright.driver.leaving import leave
from claimwright.driver.metrics import Metrics
from claimwright.driver.plugin_process import Report, run_plugin, serve_probes
from claimwright.driver.recent_errors import RecentErrors

logger = logging.getLogger(__name__)
_PREDECESSOR_SECONDS: Final = 60.0
_STOP_SECONDS: Final = 20.0


async def run(settings: DomainPluginSettings) -> None:
    """Run until a signal; NodeUnusable or PluginError when it cannot go on."""
    doors = open_doors(settings)
    await run_plugin(settings, lambda failure: domain_plugin(settings, doors, failure))


def _leave(settings: DomainPluginSettings) -> None:
    """Leave the node; where no claim is held, no file stays."""
    leave(settings)
    if not settings.plugin_dir.exists():
        management_file(settings.cdi_root).unlink(missing_ok=True)


@asynccontextmanager
async def domain_plugin(
    settings: DomainPluginSettings, doors: DomainDoors, failure: Report
) -> AsyncIterator[Plugin]:
    """Run the plugin within this context: discover, recover, serve, publish; in reverse at the end."""
    async with AsyncExitStack() as parts:
        custody = Custody(settings.plugin_dir, shared=bool(settings.pod_uid))
        parts.push_async_callback(custody.end, leave=functools.partial(_leave, settings))
        await custody.begin(timeout_seconds=_PREDECESSOR_SECONDS)
        node = await known_node(settings, doors)
        parts.push_async_callback(node.machine.stop, timeout_seconds=_STOP_SECONDS)
        patience = Patience(doors.clock, in_charge=lambda: node.machine.in_charge)
        plugin = _plugin(node, patience, custody, failure)
        custody.settle(gain=functools.partial(go_on, node), lose=node.machine.suspend)
        await plugin.start()
        parts.push_async_callback(plugin.stop, grace_seconds=_STOP_SECONDS)
        parts.callback(patience.close)
        await keep(parts, node, plugin)
        await serve_probes(parts, settings, plugin, node.metrics)
        yield plugin


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
