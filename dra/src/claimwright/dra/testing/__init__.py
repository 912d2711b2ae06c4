"""Test tools for rooms that build on the contract; nothing of it runs in a product."""

from claimwright.dra.testing.fake_api import FakeApi, Fault, allocated_claim

__all__ = ["FakeApi", "Fault", "allocated_claim"]
