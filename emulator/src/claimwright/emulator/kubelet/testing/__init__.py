"""Tools for tests of the stand-in: an API server in memory. No part of a running node."""

from claimwright.emulator.kubelet.testing.api_server import FakeApiServer

__all__ = ["FakeApiServer"]
