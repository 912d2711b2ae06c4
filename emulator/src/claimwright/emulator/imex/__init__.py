"""A node's own nvidia-imex: kept as the model says, and asked how it is.

`service.keep(model, driver_root)` starts, stops and reconfigures the daemon of a driver root; `query.ask(driver_root)`
returns what the daemon knows of its domain. The daemon itself is C: `tools/source/imex/`.
"""

from claimwright.emulator.imex.configuration import CONFIG, CONTROL_SOCKET, LOG, NODES
from claimwright.emulator.imex.query import Domain, DomainNode, ask

__all__ = ["CONFIG", "CONTROL_SOCKET", "LOG", "NODES", "Domain", "DomainNode", "ask"]
