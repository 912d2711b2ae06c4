"""What a check works with: it acts as the scheduler towards the API server and as the kubelet towards the driver.

All that it makes is entered into a ledger and freed in reverse order, also after a failure.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from itertools import count
from typing import Any

from claimwright.conformance import claims, wire
from claimwright.conformance.cdi_folder import SpecFile, read_folder, spec_paths
from claimwright.conformance.declaration import Spec
from claimwright.conformance.errors import Inconclusive, NotApplicable, Violation
from claimwright.conformance.instance import Instance, Registration
from claimwright.conformance.ledger import Ledger
from claimwright.conformance.published import Choice, PublishedDevice, PublishedPool, choose_devices
from claimwright.conformance.wire import ClaimName, PreparedDevice, Reply
from claimwright.dra.kube import RESOURCE_CLAIMS, Conflict, Kube, NotFound

Requests = Mapping[str, Sequence[PublishedDevice]]


@dataclass(slots=True)
class Stage:
    """One check's bench over one driver instance."""

    instance: Instance
    kube: Kube
    namespace: str
    prefix: str
    labels: Mapping[str, str]
    ledger: Ledger = field(default_factory=Ledger)
    observations: dict[str, Any] = field(default_factory=dict)
    made: list[ClaimName] = field(default_factory=list)
    specs_seen: dict[str, str] = field(default_factory=dict)
    _owed: set[str] = field(default_factory=set)
    _numbers: Iterator[int] = field(default_factory=lambda: count(1))

    @property
    def spec(self) -> Spec:
        """Return the declared driver."""
        return self.instance.declaration.spec

    @property
    def registration(self) -> Registration:
        """Return the completed handshake."""
        if self.instance.registration is None:
            raise self.instance.failure or Violation("a registered driver", "none: it was not started")
        return self.instance.registration

    def pools(self) -> tuple[PublishedPool, ...]:
        """Return the driver's complete pools."""
        return self.instance.pools(self.kube)

    def devices(
        self, wanted: int = 1, *, beside: Sequence[PublishedDevice] = ()
    ) -> tuple[PublishedDevice, ...]:
        """Return devices that a scheduler could allocate together; fewer make the check not applicable."""
        identity = self.spec.identity.attribute if self.spec.identity else None
        choice = Choice(self.spec.driver, self.spec.allocation, identity)
        chosen = choose_devices(self.pools(), choice, wanted, taken=beside)
        if len(chosen) < wanted:
            raise NotApplicable(
                f"needs {wanted} free device(s) that can be held together, found {len(chosen)}"
            )
        return chosen

    def devices_up_to(self, wanted: int, *, at_least: int) -> tuple[PublishedDevice, ...]:
        """Return as many devices as can be held together, up to `wanted`."""
        for number in range(wanted, at_least, -1):
            with suppress(NotApplicable):
                return self.devices(number)
        return self.devices(at_least)

    def claim(
        self,
        *,
        requests: Requests | None = None,
        configs: Sequence[claims.Config] = (),
        results: Sequence[Mapping[str, Any]] = (),
        allocated: bool = True,
        admin: bool = False,
        name: str | None = None,
    ) -> ClaimName:
        """Create a claim and allocate it (one free device unless told); `results` are added as they are."""
        requests = {"device": self.devices()} if requests is None else requests
        name = name or f"{self.prefix}-{next(self._numbers)}"
        body = claims.claim_body(name, self.namespace, self.spec.driver, requests, self.labels)
        if admin:
            body = claims.with_admin_access(body)
        created = self.kube.create(RESOURCE_CLAIMS, body)
        claim = ClaimName(self.namespace, name, created["metadata"]["uid"])
        self.made.append(claim)
        self.ledger.owe(f"claim {name}", lambda: self.delete(claim))
        if allocated:
            status = claims.allocation(self.spec.driver, self.instance.node, requests, configs, results)
            self.kube.replace_status(RESOURCE_CLAIMS, {**created, "status": {"allocation": status}})
        return claim

    def delete(self, claim: ClaimName) -> None:
        """Delete a claim object; one that is gone, or replaced by another uid, is fine."""
        try:
            self.kube.delete(RESOURCE_CLAIMS, claim.name, namespace=claim.namespace, uid=claim.uid)
        except (NotFound, Conflict):
            return

    def prepare(self, *some: ClaimName, version: str | None = None, seconds: float | None = None) -> Reply:
        """Call NodePrepareResources; whatever it answers, the claims are released at the end."""
        for claim in some:
            self._owe_release(claim)
        limit = seconds or self.spec.budgets.prepare_s
        reply = wire.prepare(self.instance.service, version or self.registration.version, some, limit)
        self._keep_specs(some)
        return reply

    def unprepare(self, *some: ClaimName, version: str | None = None) -> Reply:
        """Call NodeUnprepareResources."""
        limit = self.spec.budgets.prepare_s
        return wire.unprepare(self.instance.service, version or self.registration.version, some, limit)

    def prepare_together(self, some: Sequence[ClaimName]) -> list[Reply]:
        """Call NodePrepareResources for each claim in its own call, all at once."""
        with ThreadPoolExecutor(len(some)) as pool:
            return list(pool.map(self.prepare, some))

    def prepared(self, claim: ClaimName, *, version: str | None = None) -> tuple[PreparedDevice, ...]:
        """Prepare a claim that must succeed and return its devices in a stable order."""
        return self.devices_in(self.prepare(claim, version=version), claim)

    def devices_in(self, reply: Reply, claim: ClaimName) -> tuple[PreparedDevice, ...]:
        """Return a claim's devices from a reply in a stable order; an error in it is a violation."""
        if reply.rpc_error or claim.uid not in reply.answers or reply.answers[claim.uid].error:
            seen = reply.error_of(claim.uid) or "a reply without the claim's uid"
            raise Violation(f"claim {claim.name} to be prepared", seen)
        return tuple(
            sorted(reply.answers[claim.uid].devices, key=lambda one: (one.pool, one.device, one.requests))
        )

    def released(self, claim: ClaimName) -> None:
        """Unprepare a claim, which must succeed."""
        reply = self.unprepare(claim)
        error = reply.error_of(claim.uid)
        if error or claim.uid not in reply.answers:
            raise Violation(f"claim {claim.name} to be released", error or "a reply without the claim's uid")

    def control(self) -> None:
        """Prove that a good claim is prepared now; else a refusal of a bad one proves nothing."""
        try:
            claim = self.claim()
            self.prepared(claim)
            self.released(claim)
        except Violation as violation:
            raise Inconclusive(f"the control, a good claim, was not prepared: {violation}") from None

    def specs(self) -> tuple[SpecFile, ...]:
        """Read the CDI folder as it is now."""
        return read_folder(self.instance.folders.cdi)

    @contextmanager
    def nothing_left_of(self, what: str) -> Iterator[None]:
        """Judge that the block leaves the CDI folder as it was."""
        before = {spec.path.name for spec in self.specs()}
        yield
        left = {spec.path.name for spec in self.specs()} - before
        if left:
            raise Violation(f"no CDI spec left of {what}", ", ".join(sorted(left)))

    def settle(self) -> list[str]:
        """Free everything that the check made and return what could not be freed."""
        return self.ledger.settle()

    def _owe_release(self, claim: ClaimName) -> None:
        if claim.uid not in self._owed:
            self._owed.add(claim.uid)
            self.ledger.owe(f"prepared claim {claim.name}", lambda: self._release(claim))

    def _keep_specs(self, some: Sequence[ClaimName]) -> None:
        """Keep the specs of these claims as evidence: after the release they are gone."""
        for path in spec_paths(self.instance.folders.cdi):
            with suppress(OSError):  # another claim's spec may go at this moment
                text = path.read_text(encoding="utf-8", errors="replace")
                if any(claim.uid in path.name + text for claim in some):
                    self.specs_seen[path.name] = text

    def _release(self, claim: ClaimName) -> None:
        # A driver that is down holds no claim that the suite could release; its folders go with the instance.
        reply = wire.unprepare(self.instance.service, self.registration.version, [claim], 10)
        self.observations.setdefault("release_errors", []).extend(filter(None, [reply.error_of(claim.uid)]))
