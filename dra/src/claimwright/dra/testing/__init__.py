"""Test tools for rooms that build on the contract; nothing of it runs in a product."""

from claimwright.dra.testing.claims import allocated_claim
from claimwright.dra.testing.fake_api import FakeApi
from claimwright.dra.testing.faults import Fault
from claimwright.dra.testing.objects import Refused

__all__ = ["FakeApi", "Fault", "Refused", "allocated_claim"]
