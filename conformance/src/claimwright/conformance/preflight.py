"""The preflight of `check`: is the declaration sound, and does the driver show what it declares."""

from __future__ import annotations

import secrets
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from claimwright.conformance.declaration import Declaration, load_declaration
from claimwright.conformance.errors import Violation
from claimwright.conformance.evidence.bundle import Run
from claimwright.conformance.fixtures import connect, instance_on_node
from claimwright.conformance.observed import VISIBLE, observed_features
from claimwright.conformance.reach import require_api_server
from claimwright.conformance.registry import load_registry
from claimwright.conformance.transcript import Transcript


@dataclass(frozen=True, slots=True)
class Preflight:
    """What was found; `seen` is None while no driver was started."""

    declaration: Declaration
    binding: int
    seen: dict[str, Any] | None = None
    problems: tuple[str, ...] = ()

    @property
    def sound(self) -> bool:
        """Tell whether a run makes sense."""
        return not self.problems

    def lines(self) -> list[str]:
        """Return the findings for a terminal."""
        spec = self.declaration.spec
        told = [f"{name:<20} {value}" for name, value in (self.seen or {}).items()]
        start = (
            []
            if self.seen is not None
            else ["give --kubeconfig to start the driver and compare its features"]
        )
        return [
            (
                f"declaration is sound: {spec.driver} ({spec.hardware} hardware), {self.binding} of "
                f"{len(load_registry())} requirements bind it"
            ),
            *told,
            *(f"problem: {problem}" for problem in self.problems),
            *start,
        ]

    def as_object(self) -> dict[str, Any]:
        """Return the JSON form."""
        return {
            "driver": self.declaration.spec.driver, "binding": self.binding, "observed": self.seen,
            "problems": list(self.problems), "sound": self.sound,
        }  # fmt: skip


def examine(path: Path, kubeconfig: Path | None) -> Preflight:
    """Read a declaration and, with a kubeconfig, look at the driver once; raises UsageError, SuiteError."""
    declaration = load_declaration(path)
    binding = sum(all(map(declaration.supports, one.features)) for one in load_registry().values())
    if kubeconfig is None:
        return Preflight(declaration, binding)
    require_api_server(kubeconfig)
    run = Run(f"check-{secrets.token_hex(3)}", declaration, kubeconfig.absolute(), Path())
    try:
        return Preflight(declaration, binding, *_look(run))
    except Violation as violation:
        return Preflight(declaration, binding, {}, (str(violation),))


def _look(run: Run) -> tuple[dict[str, Any], tuple[str, ...]]:
    with ExitStack() as stack:
        kube = connect(run, "check", Transcript())
        instance = stack.enter_context(instance_on_node(run, kube, "check"))
        registration = instance.start()
        pools = instance.pools(kube)
        observed = observed_features(registration, pools)
        declared = set(run.declaration.spec.features.supported)
        seen = {
            "registered as": f"{registration.info.type} {registration.info.name}",
            "versions": ", ".join(registration.info.versions),
            "pools, devices": f"{len(pools)}, {sum(len(pool.devices) for pool in pools)}",
            "observed features": ", ".join(sorted(observed)) or "none",
            "not declared": ", ".join(sorted(observed - declared)) or "none",
        }
        # deviceMetadata shows in prepared claims only, which a look does not make.
        unseen = sorted((declared & VISIBLE) - observed - {"deviceMetadata"})
        return seen, tuple(f"feature {one} is declared, but not observed" for one in unseen)
