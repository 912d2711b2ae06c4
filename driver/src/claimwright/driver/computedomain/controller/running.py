"""The controller as a process: signals, the election, the HTTP endpoint."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine, Sequence
from typing import Any, Final

from claimwright.dra.kube import Kube
from claimwright.driver import signals
from claimwright.driver.computedomain.controller.controller import Controller
from claimwright.driver.computedomain.controller.election import Election
from claimwright.driver.computedomain.controller.settings import ControllerSettings, ElectionSettings
from claimwright.driver.http_endpoint import HttpEndpoint, Page

logger: Final = logging.getLogger(__name__)
_AGENT: Final = "claimwright-compute-domain-controller"


async def run(settings: ControllerSettings) -> None:
    """Run until a signal; NodeUnusable or LeadershipLost when it cannot go on."""
    loop = asyncio.get_running_loop()
    stop = signals.stop_on_signals(loop)
    signals.dump_on_signal(loop)
    logger.info(
        "controller manager config maxNodesPerIMEXDomain:%d additionalNamespaces:%s %s",
        settings.max_nodes, list(settings.additional_namespaces), settings.describe(),
    )  # fmt: skip
    controller = Controller(Kube.connect(settings.kubeconfig, user_agent=_AGENT), settings)
    endpoint = _endpoint(settings, controller, loop)
    try:
        if settings.election is None:
            await _work(controller, stop.wait(), stop)
        else:
            await _lead(controller, settings, settings.election, stop)
    finally:
        if endpoint is not None:
            endpoint.stop()
    logger.info("stopped")


async def _lead(
    controller: Controller, settings: ControllerSettings, lease: ElectionSettings, stop: asyncio.Event
) -> None:
    # A request for the Lease that hangs must end before the Lease does.
    kube = Kube.connect(settings.kubeconfig, user_agent=_AGENT, timeout_seconds=lease.renew_seconds / 2)
    election = Election(kube, lease, settings.pod_name)
    try:
        if await _unless_stopped(election.lead(), stop):
            await _work(controller, election.keep(), stop)
    finally:
        await election.resign()


async def _work(controller: Controller, until: Coroutine[Any, Any, Any], stop: asyncio.Event) -> None:
    """Let the controller work until `stop`, or until `until` raises."""
    controller.start()
    controller.metrics.leading.set(1)
    try:
        await _unless_stopped(until, stop)
    finally:
        logger.info("stopping")
        controller.metrics.leading.set(0)
        await asyncio.to_thread(controller.stop)


async def _unless_stopped(wait: Coroutine[Any, Any, Any], stop: asyncio.Event) -> bool:
    """Wait, but no longer than until `stop`; False when that came first."""
    waiting, stopped = asyncio.create_task(wait), asyncio.create_task(stop.wait())
    await asyncio.wait({waiting, stopped}, return_when=asyncio.FIRST_COMPLETED)
    finished = waiting.done()
    for task in (waiting, stopped):
        task.cancel()
    await asyncio.gather(stopped, *(() if finished else (waiting,)), return_exceptions=True)
    if finished:
        waiting.result()
    return finished


def _endpoint(
    settings: ControllerSettings, controller: Controller, loop: asyncio.AbstractEventLoop
) -> HttpEndpoint | None:
    if not settings.http_endpoint:
        return None
    pages: dict[str, Page] = {
        "/healthz": lambda: _verdict(controller.dead()),
        "/readyz": lambda: _verdict([*controller.dead(), *controller.unread()]),
    }
    if settings.profile_path:
        pages[settings.profile_path] = lambda: (200, signals.stacks(loop).encode())
    exposition = controller.metrics.exposition
    endpoint = HttpEndpoint(settings.http_endpoint, settings.metrics_path, exposition, pages=pages)
    endpoint.start()
    logger.info("serving HTTP on port %d", endpoint.port)
    return endpoint


def _verdict(troubles: Sequence[str]) -> tuple[int, bytes]:
    text = "\n".join(troubles) or "ok"
    return 503 if troubles else 200, f"{text}\n".encode()
