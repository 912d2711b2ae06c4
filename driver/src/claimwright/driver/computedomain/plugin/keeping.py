"""What is kept true while the plugin runs: the clique and its label, folders of daemons, claims that are forgotten."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack

from claimwright.dra.plugin import Plugin
from claimwright.driver.computedomain.plugin.clique_label import CliqueLabel
from claimwright.driver.computedomain.plugin.node import Node, sweep_unknown
from claimwright.driver.plugin_process import in_background
from claimwright.driver.sweeping import INTERVAL_SECONDS, Sweeper
from claimwright.driver.tools.claim_spec import kind_of


async def keep(parts: AsyncExitStack, node: Node, plugin: Plugin) -> None:
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
        await sweep_unknown(node)
