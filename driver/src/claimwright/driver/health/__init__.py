"""How the GPUs are: what is wrong with which device, as taints, as the kubelet's health stream, and as Events.

`diagnosis` reads the hardware's own words, `xids` remembers what it reported, `physician` puts both together;
`listening` hears events the moment they happen, `stream` and `notices` tell the kubelet and people.
"""

from claimwright.driver.health.ailments import Ailment, concerns, taints_of
from claimwright.driver.health.listening import Listener
from claimwright.driver.health.notices import Notices
from claimwright.driver.health.physician import Physician
from claimwright.driver.health.stream import HealthBoard
from claimwright.driver.health.xid_book import XidBook
from claimwright.driver.health.xids import XidPolicy

__all__ = [
    "Ailment",
    "HealthBoard",
    "Listener",
    "Notices",
    "Physician",
    "XidBook",
    "XidPolicy",
    "concerns",
    "taints_of",
]
