"""From an allocated claim to what preparing it means on this node; touches nothing."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from claimwright.dra.cdi import qualified_name
from claimwright.dra.claims import Claim, DeviceResult
from claimwright.dra.slices import Device, Pool
from claimwright.driver.computedomain.plugin.edits import domain_daemon, imex_channels
from claimwright.driver.computedomain.plugin.settings import DomainPluginSettings
from claimwright.driver.computedomain.plugin.steps import (
    domain_folder,
    host_imex,
    management_spec,
    node_label,
    readiness,
)
from claimwright.driver.computedomain.plugin.steps.management_spec import CDI_ID
from claimwright.driver.computedomain.plugin.steps.node_label import NAME
from claimwright.driver.computedomain.resources import CHANNELS
from claimwright.driver.configs import config_for, offered_by
from claimwright.driver.configs.compute_domain import ComputeDomainChannelConfig, ComputeDomainDaemonConfig
from claimwright.driver.configs.decoding import SomeConfig
from claimwright.driver.edits.book import EditCall
from claimwright.driver.entries import Entry, HeldDevice
from claimwright.driver.errors import ClaimRefused
from claimwright.driver.machine import explain_conflict
from claimwright.driver.quoting import shown
from claimwright.driver.steps import Step
from claimwright.driver.tools.claim_spec import TOOL, cdi_name, check_uid, claim_spec, kind_of

DEVICE_TYPES: Final = ("channel", "daemon")
_DEVICE: Final = re.compile(r"(channel|daemon)-(0|[1-9]\d{0,3})")


def pool_of(node_name: str, *, host_managed: bool) -> Pool:
    """Return what the node offers: one channel, and a daemon where this driver runs daemons."""
    types = DEVICE_TYPES[:1] if host_managed else DEVICE_TYPES
    devices = tuple(Device(f"{kind}-0", attributes={"type": kind, "id": 0}) for kind in types)
    return Pool(name=node_name, devices=devices, node_name=node_name)


@dataclass(frozen=True)
class Wanted:
    """One device of a claim: a channel by its number, or a daemon."""

    claim: Claim
    result: DeviceResult
    kind: str
    number: int


class DomainPlanner:
    """Plans claims; `clique` tells where the node is in the fabric."""

    def __init__(self, settings: DomainPluginSettings, clique: Callable[[], str]) -> None:
        self.driver = settings.driver
        self._settings = settings
        self._clique = clique
        self._kind = kind_of(settings.driver)

    def plan(self, claim: Claim) -> Entry:
        """Return what preparing `claim` means here; ClaimRefused names what is in the way and what to do."""
        check_uid(claim.uid)
        wanted = self._wanted(claim)
        steps = tuple(self._daemon(wanted) if wanted.kind == "daemon" else self._channel(wanted))
        spec = [step for step in steps if step.tool == TOOL]
        ids = [CDI_ID] if wanted.kind == "daemon" else []
        if spec:
            ids.append(qualified_name(self._kind, cdi_name(claim.uid, wanted.result.device)))
        held = HeldDevice(
            request=wanted.result.base_request,
            pool=wanted.result.pool,
            device=wanted.result.device,
            hardware=wanted.result.device,
            cdi_ids=tuple(ids),
            kind=wanted.kind,
            admin_access=wanted.result.admin_access,
        )
        return Entry(claim.reference, (held,), steps)

    def _wanted(self, claim: Claim) -> Wanted:
        results = claim.results_of(self.driver)
        if len(results) != 1:
            names = ", ".join(result.device for result in results) or "none"
            raise ClaimRefused(
                f"the claim has {len(results)} devices of driver {self.driver} ({names}), expected one: a channel for "
                "a workload, or a daemon"
            )
        result = results[0]
        found = _DEVICE.fullmatch(result.device)
        known = found is not None and int(found[2]) < (CHANNELS if found[1] == "channel" else 1)
        if found is None or not known or result.pool != self._settings.node_name:
            raise ClaimRefused(
                f"allocatable not found for device {shown(result.device)} of pool {shown(result.pool)} (request "
                f"{shown(result.request)}): this node has {self._offered()} in pool {self._settings.node_name!r}"
            )
        return Wanted(claim, result, found[1], int(found[2]))

    def _offered(self) -> str:
        return "channel-0" if self._settings.host_managed else "channel-0 and daemon-0"

    def _channel(self, wanted: Wanted) -> Iterator[Step]:
        config = self._config(wanted, ComputeDomainChannelConfig)
        domain, namespace = config.domain_id, wanted.claim.reference.namespace
        if not wanted.result.admin_access:  # who looks at what is somebody else's changes nothing
            if self._settings.host_managed:
                yield host_imex(domain, namespace)
            else:
                yield node_label(domain, namespace)
                yield readiness(domain, namespace)
        if self._clique():
            every = config.allocation_mode == "All" and not self._settings.host_managed
            yield self._spec(wanted, imex_channels(0, CHANNELS) if every else imex_channels(wanted.number, 1))

    def _daemon(self, wanted: Wanted) -> Iterator[Step]:
        config = self._config(wanted, ComputeDomainDaemonConfig)
        namespace, allowed = wanted.claim.reference.namespace, self._settings.daemon_namespaces
        if self._settings.host_managed:
            raise ClaimRefused(
                "the host manages nvidia-imex on this node (--imex-mode hostManaged): it runs no daemon for a domain"
            )
        if namespace not in allowed:
            # A daemon's container gets every GPU of the node.
            raise ClaimRefused(
                f"a daemon's claim is of namespace {namespace}, expected {' or '.join(allowed)}: only the controller "
                "makes such claims; a workload asks for a channel, with the claim template that its ComputeDomain names"
            )
        if wanted.result.admin_access:
            raise ClaimRefused("a daemon has a folder of its own: admin access to it does not exist")
        yield domain_folder(config.domain_id)
        yield management_spec()
        yield self._spec(wanted, domain_daemon(config.domain_id))

    def _spec(self, wanted: Wanted, edits: EditCall) -> Step:
        uid = wanted.claim.uid
        return claim_spec(uid, [(cdi_name(uid, wanted.result.device), [edits])], [])

    def _config(self, wanted: Wanted, kind: type[SomeConfig]) -> SomeConfig:
        offered = offered_by(wanted.claim, self.driver)
        config = config_for(wanted.result, kind, offered, self._settings.feature_gates)
        if config is None:
            raise ClaimRefused(
                f"device {wanted.result.device} (request {wanted.result.request}) has no {kind.__name__}, which names "
                "the ComputeDomain: use the claim template that a ComputeDomain names"
            )
        return config


def explain_taken(wanted: HeldDevice, held: HeldDevice, holder: Entry, /) -> str:
    """Say who holds the node's channel or daemon, and what to do: nvidia-imex serves one domain a node."""
    of = f"this node's {wanted.kind} for ComputeDomain {_domain_of(holder.steps)}"
    return (
        f"{explain_conflict(wanted, held, holder)}: claim {holder.claim} holds {of}. A node is in one ComputeDomain "
        "and has one channel claim at a time: have this pod run on another node, have both pods of one ComputeDomain "
        f"use that claim, or wait until {holder.claim} is released"
    )


def _domain_of(steps: Sequence[Step]) -> str:
    """Name the domain of a claim by name and uid, as far as its steps know it."""
    told = {
        name: step.arguments[name] for step in steps for name in (NAME, "domain") if name in step.arguments
    }
    return f"{told[NAME]} ({told['domain']})" if NAME in told else str(told.get("domain", "unknown"))
