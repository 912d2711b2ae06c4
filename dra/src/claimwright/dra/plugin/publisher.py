"""Keeps a driver's ResourceSlices in the API server as the driver wants them."""

from __future__ import annotations

import asyncio
import logging
import random
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Final

from claimwright.dra.errors import DraError
from claimwright.dra.kube import (
    NODES,
    RESOURCE_SLICES,
    Conflict,
    Invalid,
    Kube,
    KubeError,
    NotFound,
    Reflector,
)
from claimwright.dra.plugin.errors import LIST_ATTRIBUTES, DroppedFields, PluginError
from claimwright.dra.plugin.reconcile import Change, Create, Delete, Replace, changes
from claimwright.dra.plugin.store import SliceStore
from claimwright.dra.slices import NodeOwner, Pool, differences, normal, plan_slices

_LOG: Final = logging.getLogger(__name__)
_CHECK_SECONDS: Final = 60.0
_FOLLOWER_SECONDS: Final = 0.5


class SlicePublisher:
    """Brings pools to the API server and repairs what others delete or change.

    It owns all slices of `driver` on `node_name`; without a node, those of its pools that have no node.
    Updates are taken at once and written by a thread; nothing is written when nothing changed. Faults are
    told to `on_error` and retried with back-off, without end. Slices stay when it stops; `withdraw` removes
    them.
    """

    def __init__(
        self,
        kube: Kube,
        driver: str,
        *,
        node_name: str | None,
        owner: NodeOwner | None = None,
        on_error: Callable[[PluginError], None] | None = None,
        leads: Callable[[], bool] = lambda: True,
        first_backoff_seconds: float = 0.2,
        last_backoff_seconds: float = 10.0,
    ) -> None:
        self._kube = kube
        self._driver = driver
        self._node_name = node_name
        self._owner = owner
        self._given_owner = owner
        self._on_error = on_error or _log_error
        self._leads = leads
        self._first_backoff_seconds = first_backoff_seconds
        self._last_backoff_seconds = last_backoff_seconds
        self._lock = threading.Lock()
        self._pools: dict[str, Pool] | None = None
        self._known_pools: set[str] = set()
        self._generations: dict[str, int] = {}
        self._accepted: dict[str, tuple[Mapping[str, Any], Mapping[str, Any]]] = {}
        self._wake = threading.Event()
        self._stopped = threading.Event()
        self._settled = threading.Condition(self._lock)
        self._requested = 0
        self._published = 0
        self._store = SliceStore(relevant=self._is_ours)
        node = f",spec.nodeName={node_name}" if node_name else ""
        self._reflector = Reflector(
            kube,
            RESOURCE_SLICES,
            field_selector=f"spec.driver={driver}{node}",
            on_change=self._changed,
            on_relist=self._listed,
            last_backoff_seconds=last_backoff_seconds,
        )
        self._thread = threading.Thread(target=self._run, name=f"publisher-{driver}", daemon=True)

    def start(self) -> None:
        """Start publishing; returns at once."""
        self._reflector.start()
        self._thread.start()

    def stop(self, *, timeout_seconds: float = 5.0) -> None:
        """Stop publishing; the slices stay. Twice is fine."""
        self._stopped.set()
        self._wake.set()
        self._reflector.stop(timeout_seconds=timeout_seconds)
        if self._thread.ident is not None and self._thread is not threading.current_thread():
            self._thread.join(timeout_seconds)

    def update(self, *pools: Pool) -> None:
        """Publish these pools instead of all earlier ones; raises InvalidSlice before anything is written."""
        for pool in pools:
            plan_slices(self._driver, pool, 1, self._owner or self._placeholder())
        with self._lock:
            self._pools = {pool.name: pool for pool in pools}
            self._known_pools |= self._pools.keys()
            self._requested += 1
        self._wake.set()

    def wait_published(self, timeout_seconds: float) -> bool:
        """Wait until the last update is in the API server; says whether it is. Blocking."""
        with self._lock:
            target = self._requested
            return self._settled.wait_for(lambda: self._published >= target, timeout_seconds)

    async def published(self, *, timeout_seconds: float = 30.0) -> None:
        """Wait until the last update is in the API server; raises TimeoutError."""
        if not await asyncio.to_thread(self.wait_published, timeout_seconds):
            raise TimeoutError(f"slices of {self._driver} were not published within {timeout_seconds} s")

    def withdraw(self) -> None:
        """Stop publishing and delete all slices; raises KubeError. For a driver that leaves for good."""
        self.stop()
        found = self._kube.list(RESOURCE_SLICES, field_selector=self._selector())["items"]
        for item in found:
            if self._is_ours(item):
                self._delete(item)

    @property
    def generations(self) -> dict[str, int]:
        """The last published generation of each pool."""
        with self._lock:
            return dict(self._generations)

    def _selector(self) -> str:
        return f"spec.driver={self._driver}" + (
            f",spec.nodeName={self._node_name}" if self._node_name else ""
        )

    def _is_ours(self, item: Mapping[str, Any]) -> bool:
        spec = item["spec"]
        if spec.get("driver") != self._driver or spec.get("nodeName") != self._node_name:
            return False
        return self._node_name is not None or spec["pool"]["name"] in self._known_pools

    def _placeholder(self) -> NodeOwner | None:
        return NodeOwner(self._node_name, "unknown") if self._node_name else None

    def _changed(self, kind: str, item: dict[str, Any]) -> None:
        if self._store.changed(kind, item):
            if kind == "DELETED" and self._given_owner is None:
                self._owner = None  # the Node may be another one now: its deletion takes the slices along
            self._wake.set()

    def _listed(self) -> None:
        if self._store.listed({name for _, name in self._reflector.items()}):
            self._wake.set()

    def _run(self) -> None:
        backoff = self._first_backoff_seconds
        while not self._stopped.is_set():
            self._wake.wait(_CHECK_SECONDS)
            if self._stopped.is_set():
                return
            if not self._reflector.synced.wait(_FOLLOWER_SECONDS):
                self._wake.set()
                continue
            if not self._leads():
                self._stopped.wait(_FOLLOWER_SECONDS)
                continue
            self._wake.clear()
            try:
                self._reconcile()
                backoff = self._first_backoff_seconds
            except DraError as error:
                self._report(error)
                asked = error.retry_after_seconds if isinstance(error, KubeError) else None
                self._stopped.wait(asked or backoff * random.uniform(0.5, 1.5))  # noqa: S311
                backoff = min(backoff * 2, self._last_backoff_seconds)
                self._wake.set()

    def _report(self, error: DraError) -> None:
        if isinstance(error, Conflict):
            return  # somebody was faster; the next round starts from what is there now
        told = (
            error
            if isinstance(error, PluginError)
            else PluginError(
                f"publishing slices of {self._driver} failed, will retry: {error}", recoverable=True
            )
        )
        self._on_error(told)

    def _reconcile(self) -> None:
        with self._lock:
            pools, target = self._pools, self._requested
        if pools is None:
            return
        owner = self._node_owner()
        stored = self._store.pools()
        for name in sorted(stored.keys() - pools.keys()):
            for item in stored[name]:
                self._delete(item)
        for name, pool in sorted(pools.items()):
            self._bring(pool, stored.get(name, []), owner)
        with self._lock:
            self._published = max(self._published, target)
            self._settled.notify_all()

    def _bring(self, pool: Pool, stored: Sequence[dict[str, Any]], owner: NodeOwner | None) -> None:
        todo = changes(
            self._driver,
            pool,
            stored,
            owner,
            least_generation=self._generations.get(pool.name, 1),
            accepts=self._accepts,
        )
        for change in todo:
            self._write(pool, change)
        if todo:
            _LOG.info("published pool %s", pool.name, extra={"driver": self._driver, "writes": len(todo)})
        generations = [
            int(item["spec"]["pool"]["generation"]) for item in self._store.pools().get(pool.name, [])
        ]
        with self._lock:
            self._generations[pool.name] = max(generations, default=1)

    def _write(self, pool: Pool, change: Change) -> None:
        match change:
            case Create(item):
                with self._telling_of_lists(pool, item):
                    self._stored(pool, item, self._kube.create(RESOURCE_SLICES, item))
            case Replace(item):
                with self._telling_of_lists(pool, item):
                    self._stored(pool, item, self._replaced(item))
            case Delete(item):
                self._delete(item)

    @contextmanager
    def _telling_of_lists(self, pool: Pool, item: Mapping[str, Any]) -> Iterator[None]:
        """Say so when a slice is refused that has list attributes.

        A server whose gate DRAListTypeAttributes is off drops the lists first, and then refuses attributes without a
        value, so that nothing of the slice would ever be published.
        """
        try:
            yield
        except Invalid:
            if _has_lists(item):
                self._on_error(DroppedFields(pool.name, (LIST_ATTRIBUTES,)))
            raise

    def _replaced(self, item: Mapping[str, Any]) -> dict[str, Any]:
        try:
            return self._kube.replace(RESOURCE_SLICES, item)
        except (Conflict, NotFound):
            self._refresh(item["metadata"]["name"])
            raise

    def _refresh(self, name: str) -> None:
        try:
            self._store.written(self._kube.get(RESOURCE_SLICES, name))
        except NotFound:
            self._store.gone(name)

    def _delete(self, item: Mapping[str, Any]) -> None:
        metadata = item["metadata"]
        try:
            self._kube.delete(RESOURCE_SLICES, metadata["name"], uid=metadata["uid"])
        except NotFound:
            _LOG.debug("slice %s was deleted by somebody else", metadata["name"])
        except Conflict:
            self._refresh(metadata["name"])
            raise
        self._store.gone(metadata["name"])

    def _stored(self, pool: Pool, wanted: Mapping[str, Any], stored: dict[str, Any]) -> None:
        self._store.written(stored)
        dropped = differences(wanted["spec"], stored["spec"])
        if dropped:
            # Once per content: what a server cannot store it will not store on the next try either.
            self._accepted[stored["metadata"]["name"]] = (normal(wanted["spec"]), normal(stored["spec"]))
            self._on_error(DroppedFields(pool.name, tuple(dropped)))

    def _accepts(self, wanted: Mapping[str, Any], stored: Mapping[str, Any]) -> bool:
        return (normal(wanted), normal(stored)) in self._accepted.values()

    def _node_owner(self) -> NodeOwner | None:
        if self._owner is None and self._node_name is not None:
            node = self._kube.get(NODES, self._node_name)
            self._owner = NodeOwner(self._node_name, node["metadata"]["uid"])
        return self._owner


def _has_lists(item: Mapping[str, Any]) -> bool:
    devices = item["spec"].get("devices", ())
    values = (value for device in devices for value in device.get("attributes", {}).values())
    return any(isinstance(content, list) for value in values for content in value.values())


def _log_error(error: PluginError) -> None:
    _LOG.error("%s", error)
