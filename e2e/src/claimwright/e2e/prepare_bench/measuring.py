"""The flow: a node for each board, a driver for each kind on it, a load for each number of claims at once."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any, Final

from claimwright.dra.claims import ClaimReference
from claimwright.dra.plugin import dra_socket
from claimwright.e2e.deadlines import wait_until
from claimwright.e2e.driven_node import DRIVER, DrivenNode
from claimwright.e2e.prepare_bench.kinds import Kind
from claimwright.e2e.prepare_bench.machine import BOARDS, machine_of
from claimwright.e2e.prepare_bench.results import Cell

_WARM_ROUNDS: Final = 3
_STEP_ROUNDS: Final = 20
_SPARE_SECONDS: Final = 120.0
_START_SECONDS: Final = 30.0
_METRICS: Final = re.compile(r"metrics on port (\d+)")


@dataclass(frozen=True)
class Plan:
    """What to measure: each cell takes at most `rounds` rounds, and begins none after `seconds`."""

    kinds: Sequence[Kind]
    at_once: Sequence[int]
    rounds: int = 300
    seconds: float = 4.0


class LoadFailed(Exception):
    """The client ended with an error; the message is its own."""


def measure(plan: Plan, note: Callable[[str], None]) -> Iterator[Cell]:
    """Yield a cell for each kind and number of claims at once; `note` is told what begins."""
    for board, kinds in groupby(sorted(plan.kinds, key=lambda kind: kind.board), key=lambda kind: kind.board):
        for kind in kinds:
            note(f"{kind.name}: a machine of {BOARDS} x {board} boots")
            with DrivenNode(machine_of(board)) as node:
                yield from _cells(node, kind, plan, note)


def _cells(node: DrivenNode, kind: Kind, plan: Plan, note: Callable[[str], None]) -> Iterator[Cell]:
    kind.before(node)
    node.start(kind.gates, "--http-endpoint", "127.0.0.1:0", *kind.flags)
    node.wait_devices(lambda _found: _complete(node))
    claims = kind.claims(node)
    metrics = _metrics_url(node)
    _load(node, claims, rounds=_WARM_ROUNDS, seconds=plan.seconds)
    for number in plan.at_once:
        note(f"{kind.name}: {number} at once")
        plain = _load(node, claims[:number], rounds=plan.rounds, seconds=plan.seconds)
        broken_down = _load(
            node, claims[:number], rounds=_STEP_ROUNDS, seconds=plan.seconds / 2, metrics=metrics
        )
        yield Cell.of(kind.name, number, plain, broken_down)


def _complete(node: DrivenNode) -> bool:
    found = node.slices()
    return bool(found) and len(found) == found[0].slice_count


def _metrics_url(node: DrivenNode) -> str:
    wait_until(
        "the metrics", lambda: bool(_METRICS.search(node.log.read_text())), seconds=_START_SECONDS,
        seen=node.log_end,
    )  # fmt: skip
    (port,) = _METRICS.findall(node.log.read_text())
    return f"http://127.0.0.1:{port}/metrics"


def _load(
    node: DrivenNode,
    claims: Sequence[ClaimReference],
    *,
    rounds: int,
    seconds: float,
    metrics: str | None = None,
) -> dict[str, Any]:
    request = {
        "endpoint": str(dra_socket(node.plugins / DRIVER, None)),
        "claims": [[claim.namespace, claim.name, claim.uid] for claim in claims],
        "rounds": rounds,
        "seconds": seconds,
        "metrics": metrics,
    }
    done = subprocess.run(
        [sys.executable, "-m", "claimwright.e2e.kubelet_load"],
        input=json.dumps(request), capture_output=True, text=True, timeout=seconds + _SPARE_SECONDS, check=False,
    )  # fmt: skip
    if done.returncode != 0:
        raise LoadFailed(f"{done.stderr.strip()}\n{node.log_end()}")
    found: dict[str, Any] = json.loads(done.stdout)
    return found
