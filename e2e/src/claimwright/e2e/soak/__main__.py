"""`python -m claimwright.e2e.soak`: see the package."""

from __future__ import annotations

import argparse
import json
import math
import signal
import sys
from collections.abc import Callable

from claimwright.e2e import soak as package
from claimwright.e2e.driven_node import DrivenNode
from claimwright.e2e.soak.findings import Findings
from claimwright.e2e.soak.soaking import GATES, Soak
from claimwright.e2e.soak.switching import Switch, switches

_PROGRESS_SECONDS = {True: 1.0, False: 15.0}


def main() -> int:
    """Run from the command line; status 1 when something is wrong."""
    options = _options()
    # Ended by a signal, a run takes its node along: daemons of MPS outlive their driver.
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
    with DrivenNode(options.profile) as node:
        if options.switches:
            return _measure_switches(node, options)
        return _soak(node, options)


def _soak(node: DrivenNode, options: argparse.Namespace) -> int:
    soak = Soak(
        node,
        seed=options.seed,
        kill_every=options.kill_every,
        admin_every=options.admin_every,
        look_every=options.look_every,
    )
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: setattr(soak, "stopped", True))
    findings = soak.run(options.cycles, _progress(options.cycles))
    print(file=sys.stderr)
    found = findings.as_object()
    if options.json:
        print(json.dumps(found))
    else:
        for name, value in found.items():
            print(f"{name:34} {value}")
    return 0 if findings.clean else 1


def _measure_switches(node: DrivenNode, options: argparse.Namespace) -> int:
    node.start(GATES)
    measured = switches(node, options.switches, lambda line: print(line, file=sys.stderr, flush=True))
    node.stop()
    if options.json:
        print(json.dumps([each.as_object() for each in measured]))
    else:
        _tabulate(measured)
    return 0


def _tabulate(measured: list[Switch]) -> None:
    print(
        "GPU            from  to    release p50  prepare p50  total p50  total max   ms, of rounds  refusals"
    )
    for each in measured:
        print(
            f"{each.gpu:14} {each.before:5} {each.after:5} {each.release_p50:11.1f}  {each.prepare_p50:11.1f}  "
            f"{each.total_p50:9.1f}  {each.total_max:9.1f}  {each.rounds:14}  {each.refusals:8}"
        )
    for each in (each for each in measured if each.refusal):
        print(f"{each.gpu} {each.before} to {each.after} was refused {each.refusals} times: {each.refusal}")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m claimwright.e2e.soak", description=(package.__doc__ or "").partition("\n")[0]
    )
    parser.add_argument("--cycles", type=int, default=1000)
    parser.add_argument(
        "--kill-every", type=int, default=50, help="cycles between two kills, on average; 0: none"
    )
    parser.add_argument("--admin-every", type=int, default=0, help="steps between an admin's acts; 0: none")
    parser.add_argument(
        "--look-every", type=int, default=500, help="cycles between looks at the node; 0: at the end"
    )
    parser.add_argument(
        "--switches", type=int, default=0, metavar="ROUNDS", help="measure changes of mode instead"
    )
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--profile", default="every-mode")
    parser.add_argument("--json", action="store_true")
    return parser.parse_args()


def _progress(cycles: int) -> Callable[[Findings], None]:
    last = -math.inf
    every = _PROGRESS_SECONDS[sys.stderr.isatty()]

    def show(findings: Findings) -> None:
        nonlocal last
        if findings.seconds - last < every:
            return
        last = findings.seconds
        rate = findings.cycles / max(findings.seconds, 0.001)
        left = (cycles - findings.cycles) / max(rate, 0.001)
        text = f"{findings.cycles}/{cycles} cycles, {findings.kills} kills, {rate:.1f}/s, {left:.0f} s left "
        print(text, end="\r" if sys.stderr.isatty() else "\n", file=sys.stderr, flush=True)

    return show


if __name__ == "__main__":
    sys.exit(main())
