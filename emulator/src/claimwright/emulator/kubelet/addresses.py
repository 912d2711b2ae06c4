"""Addresses of the pods on one node."""

from __future__ import annotations

import ipaddress

from claimwright.emulator.kubelet.errors import KubeletError
from claimwright.emulator.kubelet.pods import PodUid


class AddressesExhausted(KubeletError):
    """The node's pod range has no free address; tried again when pods have gone."""


class PodAddresses:
    """Gives each pod of a node one address of the node's range; the first one belongs to the bridge."""

    def __init__(self, pod_range: str) -> None:
        self._network = ipaddress.ip_network(pod_range)
        self._by_pod: dict[PodUid, int] = {}
        self._used: set[int] = {0, 1, self._network.num_addresses - 1}
        self._next = 2

    def take(self, pod: PodUid, known: str | None = None) -> str:
        """Return the pod's address, the one that it had before a restart where that is possible."""
        if pod not in self._by_pod:
            number = self._number(known) if known else None
            self._by_pod[pod] = self._free() if number is None or number in self._used else number
            self._used.add(self._by_pod[pod])
        return str(self._network[self._by_pod[pod]])

    def give_back(self, pod: PodUid) -> None:
        """Free the pod's address; a pod without one is fine."""
        number = self._by_pod.pop(pod, None)
        if number is not None:
            self._used.discard(number)

    def _number(self, address: str) -> int | None:
        number = int(ipaddress.ip_address(address)) - int(self._network.network_address)
        return number if 0 <= number < self._network.num_addresses else None

    def _free(self) -> int:
        # Round robin, so that an address is not given to another pod right after its last one has gone.
        for offset in range(self._network.num_addresses):
            number = (self._next + offset) % self._network.num_addresses
            if number not in self._used:
                self._next = number + 1
                return number
        raise AddressesExhausted(f"no free address in {self._network}: {len(self._by_pod)} pods hold one")
