"""Users of GPUs, in memory."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from claimwright.driver.errors import StepFailed
from claimwright.driver.ports import GpuClient


class MemoryUsage:
    """The port `Usage`: `modes` are the persistence modes of the GPUs that NVML sees, `users` who is on them."""

    def __init__(self, modes: Mapping[str, bool] | None = None) -> None:
        self.modes = dict(modes or {})
        self.users: dict[str, list[GpuClient]] = {}

    def use(self, address: str, *clients: GpuClient) -> None:
        """Let processes use a GPU, instead of those before."""
        self.users[address] = list(clients)

    def clients(self, address: str) -> tuple[GpuClient, ...]:
        """Return them by number."""
        return tuple(sorted(self._of(address), key=lambda client: client.pid))

    def persistence(self, address: str) -> bool | None:
        """Return the mode."""
        return self.modes.get(address)

    def set_persistence(self, address: str, *, enabled: bool) -> None:
        """Switch the mode of a GPU that is there."""
        if address not in self.modes:
            raise StepFailed(f"GPU {address}: NVML does not see it")
        self.modes[address] = enabled

    def _of(self, address: str) -> Iterable[GpuClient]:
        return self.users.get(address, ())
