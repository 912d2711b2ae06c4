"""A rack of nodes in one NVLink domain, each a live node with its own nvidia-imex.

`up("gb200-nvl72", name="rack", trays=18)` boots it and waits for its IMEX domain, `inspect.describe` tells who is in
the clique and how each daemon is, `repair` boots and starts what is missing, `down` stops all of it, also what a
killed `up` left behind.
"""

from claimwright.emulator.rack.plan import BOARDS, Rack, TraySeat, plan
from claimwright.emulator.rack.running import down, list_racks, load, repair, up

__all__ = ["BOARDS", "Rack", "TraySeat", "down", "list_racks", "load", "plan", "repair", "up"]
