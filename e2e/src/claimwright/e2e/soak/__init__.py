"""Prepare and release at random over every kind of device of one node, under `kill -9`, and look for what is left.

    python -m claimwright.e2e.soak --cycles 1000 --kill-every 20          # the mode matrix, with progress
    python -m claimwright.e2e.soak --cycles 100000 --kill-every 0 --json  # one driver for ever: what of memory?
    python -m claimwright.e2e.soak --switches 20                          # what it takes to change a GPU's mode

The kinds are those that the driver publishes with all its gates on, so a new kind joins by being published. A cycle is
one claim: prepared, held while others come and go, released. About one cycle in `--kill-every` is met by SIGKILL at a
random moment of its calls; the driver starts again, what it held must be as it was, and the kubelet asks again. With
`--admin-every` somebody else cuts GPUs, and GPUs fail and recover. Every `--look-every` cycles, and at the end or after
Ctrl-C, all is released, and the node must be as it was.
"""

from claimwright.e2e.soak.findings import Findings
from claimwright.e2e.soak.memory import Slope, slope_of
from claimwright.e2e.soak.node_state import world
from claimwright.e2e.soak.reckoning import Handed, handed, room_for
from claimwright.e2e.soak.soaking import Soak
from claimwright.e2e.soak.switching import Switch, switches

__all__ = [
    "Findings",
    "Handed",
    "Slope",
    "Soak",
    "Switch",
    "handed",
    "room_for",
    "slope_of",
    "switches",
    "world",
]
