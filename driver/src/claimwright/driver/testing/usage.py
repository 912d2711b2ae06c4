"""Users of GPUs, in memory."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager

from claimwright.driver.errors import StepFailed
from claimwright.driver.ports import GpuClient


class MemoryUsage:
    """The port `Usage`: `modes` are the persistence modes of the GPUs that NVML sees, `users` who is on them."""

    def __init__(self, modes: Mapping[str, bool] | None = None) -> None:
        self.modes = dict(modes or {})
        self.users: dict[str, list[GpuClient]] = {}
        self.stands_aside = False

    def use(self, address: str, *clients: GpuClient) -> None:
        """Let processes use a GPU, instead of those before."""
        self.users[address] = list(clients)

    def clients(self, address: str) -> tuple[GpuClient, ...]:
        """Return them by number."""
        return tuple(sorted(self._of(address), key=lambda client: client.pid))

    def persistence(self, address: str) -> bool | None:
        """Return the mode."""
        return self.modes.get(address)

    @contextmanager
    def aside(self) -> Iterator[None]:
        """Note that this process holds no GPU within the context."""
        self.stands_aside = True
        try:
            yield
        finally:
            self.stands_aside = False

    def set_persistence(self, address: str, *, enabled: bool) -> None:
        """Switch the mode of a GPU that is there."""
        if address not in self.modes:
            raise StepFailed(f"GPU {address}: NVML does not see it")
        self.modes[address] = enabled

    def _of(self, address: str) -> Iterable[GpuClient]:
        return self.users.get(address, ())
