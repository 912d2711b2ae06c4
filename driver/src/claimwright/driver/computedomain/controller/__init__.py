"""The controller of ComputeDomains: makes what a domain needs, tells who is in it, and takes it all away again.

One leads in a cluster. All that it knows is in API objects; each change of one of them leads to a look at the whole
domain, so that it does not matter where the controller before it was killed.
"""

from claimwright.driver.computedomain.controller.controller import Controller
from claimwright.driver.computedomain.controller.election import Election, LeadershipLost
from claimwright.driver.computedomain.controller.running import run
from claimwright.driver.computedomain.controller.settings import ControllerSettings, ElectionSettings

__all__ = ["Controller", "ControllerSettings", "Election", "ElectionSettings", "LeadershipLost", "run"]
