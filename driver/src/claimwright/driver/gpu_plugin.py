"""The GPU plugin as a whole: what it is made of, and the order in which the parts start and stop."""

from __future__ import annotations

import asyncio
import functools
import logging
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Final

from claimwright.dra.kube import KubeError
from claimwright.dra.plugin import DroppedFields, Plugin, PluginError, PluginFolders
from claimwright.dra.slices import Pool
from claimwright.driver import known_gpus, recent_errors
from claimwright.driver.checkpoints import GpuTakeOver
from claimwright.driver.claim_driver import ClaimDriver
from claimwright.driver.custody import Custody
from claimwright.driver.doors import Doors, open_doors
from claimwright.driver.free_functions import FreeFunctions
from claimwright.driver.health import HealthBoard, Listener, Notices, Physician, XidBook, XidPolicy
from claimwright.driver.holdings import Holdings
from claimwright.driver.inventory import Inventory
from claimwright.driver.known_gpus import KnownGpus
from claimwright.driver.layout import Layout
from claimwright.driver.leaving import leave_gpus
from claimwright.driver.machine import Machine, Watcher
from claimwright.driver.metrics import Metrics
from claimwright.driver.mps.supervising import MpsSupervisor
from claimwright.driver.node_reader import NodeReader, discover_node, log_inventory
from claimwright.driver.ownership import Ownership
from claimwright.driver.planning import Planner
from claimwright.driver.plugin_process import Report, in_background, run_plugin, serve_probes, tell_all
from claimwright.driver.ports import GpuEvents
from claimwright.driver.recent_errors import RecentErrors
from claimwright.driver.recovering import boot_id, recover, remembered
from claimwright.driver.repertoire import mps_tool, recipes, toolbox
from claimwright.driver.restoring import TakeOver
from claimwright.driver.settings import GPU_DRIVER, GpuPluginSettings
from claimwright.driver.steps import Toolbox
from claimwright.driver.stock import Stock
from claimwright.driver.sweeping import Sweeper
from claimwright.driver.tools import community_mps, mps_daemon
from claimwright.driver.tools.claim_spec import nodes_in
from claimwright.driver.watching import NodeWatch

logger = logging.getLogger(__name__)
_HEALTH: Final = "NVMLDeviceHealthCheck"
_VERSION_RETRY_SECONDS: Final = 10.0
_PREDECESSOR_SECONDS: Final = 60.0
_STOP_SECONDS: Final = 20.0


async def run(settings: GpuPluginSettings) -> None:
    """Run until a signal; NodeUnusable or PluginError when it cannot go on."""
    doors = open_doors(settings)
    await run_plugin(settings, lambda failure: gpu_plugin(settings, doors, failure))


@dataclass(frozen=True)
class Node:
    """What the plugin knows of its node and does there; `watchers` are told of every change of the claims."""

    settings: GpuPluginSettings
    doors: Doors
    metrics: Metrics
    planner: Planner
    machine: Machine
    reader: NodeReader
    watchers: list[Watcher]

    @property
    def stock(self) -> Stock:
        """What it offers."""
        return self.planner.stock


@asynccontextmanager
async def gpu_plugin(settings: GpuPluginSettings, doors: Doors, failure: Report) -> AsyncIterator[Plugin]:
    """Run the plugin within this context: discover, recover, serve, publish; in reverse at the end."""
    async with AsyncExitStack() as parts:
        custody = Custody(settings.plugin_dir, shared=bool(settings.pod_uid))
        parts.push_async_callback(custody.end, leave=functools.partial(leave_gpus, settings))
        await custody.begin(timeout_seconds=_PREDECESSOR_SECONDS)
        node = await _known_node(settings, doors)
        parts.push_async_callback(node.machine.stop, timeout_seconds=_STOP_SECONDS)
        watching = _watching(node)
        supervisor = _supervisor(node, watching)
        parts.callback(supervisor.stop)
        layout_known = await _choose_layout(doors, watching)
        plugin = _plugin(node, watching, custody, failure)
        custody.settle(
            gain=functools.partial(_go_on, node, watching),
            lose=functools.partial(_let_go, node.machine, supervisor),
        )
        supervisor.watch(node.machine.entries)
        await plugin.start()
        parts.push_async_callback(plugin.stop, grace_seconds=_STOP_SECONDS)
        await _watch(parts, node, watching, plugin)
        if not layout_known:
            await parts.enter_async_context(in_background("layout", _learn_layout(doors, watching)))
        await _sweep(parts, node, plugin)
        await serve_probes(parts, settings, plugin, node.metrics)
        yield plugin


async def _known_node(settings: GpuPluginSettings, doors: Doors) -> Node:
    """Discover the node, recover what a crash interrupted, and read it again with that in mind."""
    # Until the journal is read, any partition may be the driver's own where it makes some.
    dynamic, vgpus = settings.feature_gates["DynamicMIG"], settings.feature_gates["VGPUSupport"]
    inventory = await asyncio.to_thread(
        discover_node, doors, lambda _gpu, _partition: dynamic, (lambda _carrier: True) if vgpus else None
    )
    log_inventory(inventory)
    metrics, holdings = Metrics(GPU_DRIVER, settings.node_name), Holdings()
    planner = _planner(settings, doors, inventory, holdings)
    watchers: list[Watcher] = [metrics.count_devices, holdings.changed]
    machine = await _machine(settings, doors, planner, watchers, metrics, holdings=holdings)
    known = KnownGpus(settings.plugin_dir / known_gpus.NAME, boot_id(doors))
    reader = NodeReader(doors, Ownership(lambda: machine.entries, lambda: machine.busy), known, vgpus=vgpus)
    watchers.append(reader.ownership.changed)
    planner.stock.renew(await asyncio.to_thread(reader.first, inventory))
    _log_what_is_withheld(planner.stock)
    return Node(settings, doors, metrics, planner, machine, reader, watchers)


def _planner(settings: GpuPluginSettings, doors: Doors, inventory: Inventory, holdings: Holdings) -> Planner:
    nodes_of = functools.partial(nodes_in, settings.cdi_root)
    functions = FreeFunctions(doors.host, doors.clock, holdings, nodes_of)
    stock = Stock(recipes(settings.feature_gates, settings.shares, functions), inventory)
    return Planner(GPU_DRIVER, settings.node_name, stock, settings.feature_gates)


def _log_what_is_withheld(stock: Stock) -> None:
    for gpu in stock.unoffered():
        logger.warning("%s is not offered: its MIG mode is on, and it has no partition", gpu.device_name)
    for withheld in stock.withheld():
        logger.warning("%s is not offered: %s", withheld.name, withheld.reason)


async def _machine(
    settings: GpuPluginSettings,
    doors: Doors,
    planner: Planner,
    watchers: Sequence[Watcher],
    metrics: Metrics,
    *,
    holdings: Holdings,
) -> Machine:
    """Return what prepares and releases, recovered before anybody is served."""
    able = toolbox(settings, doors, planner.stock.inventory, holdings)
    journal, entries = await remembered(settings, doors, planner, _take_over(settings, planner, able))
    machine = Machine(journal, able, entries, on_change=tell_all(watchers), on_step=metrics.step)
    holdings.entries = lambda: machine.entries
    await _recover(settings, doors, machine)
    return machine


def _take_over(settings: GpuPluginSettings, planner: Planner, able: Toolbox) -> TakeOver:
    return GpuTakeOver(planner, settings.cdi_root, able.before)


async def _recover(settings: GpuPluginSettings, doors: Doors, machine: Machine) -> None:
    """Finish or roll back what was interrupted, and remove what no claim owns."""
    await recover(settings, doors, machine)
    steps = [step for entry in machine.entries for step in entry.steps]
    known = {*map(mps_daemon.group_of, steps), *map(community_mps.daemon_of, steps)}
    await asyncio.to_thread(mps_tool(settings, doors).sweep, known)


async def _go_on(node: Node, watching: NodeWatch) -> None:
    """Go on with what another instance left: it may have prepared, released, cut and died."""
    take_over = _take_over(node.settings, node.planner, node.machine.toolbox)
    journal, entries = await remembered(node.settings, node.doors, node.planner, take_over)
    node.machine.resume(journal, entries)
    await _recover(node.settings, node.doors, node.machine)
    node.stock.renew(await asyncio.to_thread(node.reader.read, node.stock.inventory))
    watching.poke()


async def _let_go(machine: Machine, supervisor: MpsSupervisor) -> None:
    """Leave the claims, and their daemons, to another instance."""
    await machine.suspend()
    supervisor.stop()


def _supervisor(node: Node, watching: NodeWatch) -> MpsSupervisor:
    """Return what keeps MPS daemons alive; nothing is watched before the first change of the claims."""
    supervisor = MpsSupervisor(
        node.settings.mps_dir,
        node.doors.processes,
        node.machine.repair,
        node.doors.clock,
        tell=watching.claim_troubled,
    )
    node.watchers.append(supervisor.watch)
    return supervisor


async def _sweep(parts: AsyncExitStack, node: Node, plugin: Plugin) -> None:
    """Release what was forgotten from now on, and whenever a kubelet comes back."""
    sweeper = Sweeper(
        node.machine, node.doors.kube, node.settings.cdi_root, node.doors.clock, plugin.metadata_files
    )
    await parts.enter_async_context(in_background("sweeper", sweeper.run()))
    plugin.on_kubelet_again(sweeper.kubelet_came)


def _reporter(metrics: Metrics, recent: RecentErrors, failure: Report, watching: NodeWatch) -> Report:
    loop = asyncio.get_running_loop()

    def report(error: PluginError) -> None:
        metrics.publishing_failed()
        loop.call_soon_threadsafe(recent.add, "publish", "resourceslices", error)
        logger.error("%s", error)
        if isinstance(error, DroppedFields):
            loop.call_soon_threadsafe(watching.fields_dropped, error.fields)
        if not error.recoverable:
            failure(error)

    return report


def _plugin(node: Node, watching: NodeWatch, custody: Custody, failure: Report) -> Plugin:
    settings, gates = node.settings, node.settings.feature_gates
    recent = RecentErrors(settings.plugin_dir / recent_errors.NAME, node.doors.clock)
    driver = ClaimDriver(node.planner, node.machine, node.metrics, on_failure=recent.add, held=custody.held)
    return Plugin(
        GPU_DRIVER,
        settings.node_name,
        driver,
        kube=node.doors.kube,
        folders=PluginFolders(settings.plugin_dir, settings.registry_dir, settings.cdi_root),
        publish=watching.first_pool(),
        health=watching.board if gates[_HEALTH] else None,
        instance=settings.pod_uid or None,
        metadata=gates["DeviceMetadata"],
        serialize=False,  # the machine locks devices, so that claims for different ones run side by side
        on_error=_reporter(node.metrics, recent, failure, watching),
        on_read=functools.partial(node.metrics.step, "claim", "read"),
    )


def _watching(node: Node) -> NodeWatch:
    settings, doors = node.settings, node.doors
    book = XidBook(settings.health_file, boot_id(doors))
    ignored = XidPolicy.parse(settings.additional_xids_to_ignore)
    watching = NodeWatch(
        settings.node_name,
        node.stock,
        node.reader,
        Physician(book, ignored, doors.clock, thorough=settings.feature_gates[_HEALTH]),
        entries=lambda: node.machine.entries,
        board=HealthBoard(settings.node_name, doors.clock),
        notices=Notices(doors.kube, settings.node_name, doors.clock),
        layout=Layout(),
        clock=doors.clock,
        period_seconds=settings.reread_seconds,
    )
    node.watchers.append(lambda _entries: watching.claims_changed())
    return watching


async def _choose_layout(doors: Doors, watching: NodeWatch) -> bool:
    """Choose the layout of slices by the API server's version; tell whether it answered."""
    try:
        version = await asyncio.to_thread(doors.kube.server_version)
    except (KubeError, ValueError, KeyError) as error:
        logger.warning("the API server does not tell its version, slices are as for 1.35 on: %s", error)
        return False
    watching.server_is(Layout.for_server(version))
    return True


async def _learn_layout(doors: Doors, watching: NodeWatch) -> None:
    while not await _choose_layout(doors, watching):
        await doors.clock.sleep(_VERSION_RETRY_SECONDS)


async def _watch(parts: AsyncExitStack, node: Node, watching: NodeWatch, plugin: Plugin) -> None:
    """Keep what is published true from now on, and hear events of GPUs behind their gate."""

    def publish(pool: Pool) -> None:
        plugin.publisher.update(pool)

    await parts.enter_async_context(in_background("watching", watching.run(publish)))
    if node.settings.feature_gates[_HEALTH]:
        listener = _listener(node.doors.events, watching)
        watching.on_other_gpus(listener.renew)
        listener.start()
        parts.push_async_callback(asyncio.to_thread, listener.stop)


def _listener(events: GpuEvents, watching: NodeWatch) -> Listener:
    """Return what hears events in a thread and tells the event loop."""
    call = asyncio.get_running_loop().call_soon_threadsafe

    def tell(work: Callable[..., None], *arguments: object) -> None:
        with suppress(RuntimeError):  # the loop is closed: the process ends
            call(work, *arguments)

    return Listener(
        events,
        heard=lambda event: tell(watching.heard, event),
        began=lambda reasons: tell(watching.unmonitored, reasons),
        ended=lambda: tell(watching.watch_ended),
    )
