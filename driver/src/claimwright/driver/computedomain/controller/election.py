"""Which of several controllers leads: the one that holds a Lease and renews it in time (coordination.k8s.io/v1)."""

from __future__ import annotations

import asyncio
import datetime as dt
import logging
import math
import random
import time
import uuid
from collections.abc import Callable
from typing import Any, Final

from claimwright.dra.kube import LEASES, Conflict, Kube, KubeError, NotFound
from claimwright.driver.computedomain.controller.settings import ElectionSettings
from claimwright.driver.errors import DriverError

Object = dict[str, Any]
logger: Final = logging.getLogger(__name__)


class LeadershipLost(DriverError):
    """Nobody must act: another controller leads, or may; this process ends and is started anew."""


class Election:
    """One candidate.

    Times are measured here only, since clocks of nodes differ: a Lease that this process has not seen change for its
    whole duration has no living holder.
    """

    def __init__(
        self,
        kube: Kube,
        settings: ElectionSettings,
        candidate: str,
        *,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self.identity = f"{candidate}-{uuid.uuid4()}"
        self._kube = kube
        self._settings = settings
        self._now = now
        self._seen: tuple[str, float] = ("", -math.inf)
        self._holder = ""

    async def lead(self) -> None:
        """Wait until this candidate leads."""
        told = ""
        while not await self._holds():
            if (holder := self._holder) != told:
                told = holder
                logger.info("waiting to lead: Lease %s is held by %r", self._settings.name, holder)
            await asyncio.sleep(self._settings.retry_seconds * random.uniform(1.0, 1.2))  # noqa: S311
        logger.info("leading as %s", self.identity)

    async def keep(self) -> None:
        """Renew for as long as that works; raises LeadershipLost."""
        while True:
            await asyncio.sleep(self._settings.retry_seconds)
            try:
                async with asyncio.timeout(self._settings.renew_seconds):
                    while not await self._holds():
                        if self._holder not in ("", self.identity):
                            raise LeadershipLost(f"{self._holder!r} leads now; this controller ends")
                        await asyncio.sleep(self._settings.retry_seconds)
            except TimeoutError as error:
                raise LeadershipLost(
                    f"Lease {self._settings.namespace}/{self._settings.name} could not be renewed for "
                    f"{self._settings.renew_seconds:g} s; another controller may lead, this one ends"
                ) from error

    async def resign(self) -> None:
        """Give the Lease up, so that the next one need not wait for its end; failures are only told."""
        try:
            lease = await asyncio.to_thread(self._read)
            if lease is not None and _holder(lease) == self.identity:
                spec = {**lease["spec"], "holderIdentity": "", "leaseDurationSeconds": 1}
                await asyncio.to_thread(self._kube.replace, LEASES, {**lease, "spec": spec})
        except KubeError as error:
            logger.warning("the Lease was not given up, and ends by itself: %s", error)

    async def _holds(self) -> bool:
        """Take or renew the Lease; False when another one holds it, or the API server does not answer."""
        try:
            return await asyncio.to_thread(self._take)
        except (Conflict, NotFound):
            return False  # somebody was faster
        except KubeError as error:
            logger.warning("the Lease could not be taken or renewed: %s", error)
            return False

    def _take(self) -> bool:
        lease = self._read()
        if lease is None:
            body = {"metadata": {"name": self._settings.name}, "spec": self._spec(None)}
            self._kube.create(LEASES, body, namespace=self._settings.namespace)
            self._holder = self.identity
            return True
        self._holder = _holder(lease)
        if self._holder not in ("", self.identity) and not self._has_ended(lease):
            return False
        self._kube.replace(LEASES, {**lease, "spec": self._spec(lease)})
        self._holder = self.identity
        return True

    def _read(self) -> Object | None:
        try:
            return self._kube.get(LEASES, self._settings.name, namespace=self._settings.namespace)
        except NotFound:
            return None

    def _has_ended(self, lease: Object) -> bool:
        version, since = self._seen
        if lease["metadata"]["resourceVersion"] != version:
            self._seen = (lease["metadata"]["resourceVersion"], self._now())
            return False
        return self._now() - since > self._settings.lease_seconds

    def _spec(self, lease: Object | None) -> Object:
        """Return the spec by which this candidate holds the Lease from now on."""
        now = dt.datetime.fromtimestamp(time.time(), dt.UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        old = (lease or {}).get("spec") or {}
        mine = lease is not None and _holder(lease) == self.identity
        transitions = int(old.get("leaseTransitions") or 0)
        return {
            "holderIdentity": self.identity,
            "leaseDurationSeconds": max(1, math.ceil(self._settings.lease_seconds)),
            "acquireTime": old.get("acquireTime", now) if mine else now,
            "renewTime": now,
            "leaseTransitions": transitions if mine or lease is None else transitions + 1,
        }


def _holder(lease: Object) -> str:
    return str((lease.get("spec") or {}).get("holderIdentity") or "")
