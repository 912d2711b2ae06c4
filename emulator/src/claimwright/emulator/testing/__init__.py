"""What tests of this room and of others need: nodes without a process of their own."""

from claimwright.emulator.testing.served import Served

__all__ = ["Served"]
