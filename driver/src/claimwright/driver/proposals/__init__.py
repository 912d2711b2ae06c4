"""From the GPUs of a node to device classes and claim templates: one of each for every way to use them."""

from claimwright.driver.proposals.objects import objects_of
from claimwright.driver.proposals.proposing import Proposal, propose
from claimwright.driver.proposals.rendering import as_json, as_yaml

__all__ = ["Proposal", "as_json", "as_yaml", "objects_of", "propose"]
