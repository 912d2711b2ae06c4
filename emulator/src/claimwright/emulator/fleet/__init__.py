"""Many emulated nodes in one process, for unit tests and the stand-in kubelet: no process, no file, until asked for.

`Fleet("hgx-h100", nodes=100)` builds them; `fleet["node-7"].call("lose", gpu=3)` is what a running node's control
socket does, `.files()` its host root as a value, `.render(folder)` the same on disk, `fleet.standing_in(folder)` what
`StandInKubelet` takes. What nodes have in common they share: boards, PCI functions, links, files.
"""

from claimwright.emulator.fleet.fleet import Fleet
from claimwright.emulator.fleet.node import FleetNode

__all__ = ["Fleet", "FleetNode"]
