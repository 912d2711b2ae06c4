"""The IMEX domain of a rack: who each tray's nvidia-imex sees, and waiting until they agree."""

from __future__ import annotations

import time

from claimwright.emulator import running
from claimwright.emulator.errors import BootFailed
from claimwright.emulator.imex import LOG, Domain, ask
from claimwright.emulator.node_folder import NodeFolder
from claimwright.emulator.rack.plan import Rack, TraySeat

_DOMAIN_SECONDS = 60.0
_POLL_SECONDS = 0.05


def join(rack: Rack, seat: TraySeat) -> None:
    """Configure and start the nvidia-imex of one tray; it looks for the others by itself."""
    node = running.load(seat.node)
    node.call("configure_imex", nodes=list(rack.addresses), address=seat.address)
    node.call("start_imex")


def domains(rack: Rack) -> dict[str, Domain | None]:
    """Ask every tray's nvidia-imex for the domain as it sees it; None where none answers."""
    return {seat.node: ask(NodeFolder.of(seat.node).driver_root) for seat in rack.trays}


def wait_for_domain(rack: Rack, state: str, *, seconds: float = _DOMAIN_SECONDS) -> None:
    """Wait until every tray's daemon that answers sees the domain in this state; BootFailed says who does not.

    Where UP is waited for, every daemon has to answer.
    """
    deadline = time.monotonic() + seconds
    while True:
        seen = domains(rack)
        others = {
            node: domain.state if domain else "no answer"
            for node, domain in seen.items()
            if (domain is None and state == "UP") or (domain is not None and domain.state != state)
        }
        if not others and any(seen.values()):
            return
        if time.monotonic() > deadline:
            raise BootFailed(
                f"rack {rack.name!r}: the IMEX domain is not {state} after {seconds:.0f} s: {others}"
                + _last_words(seen)
            )
        time.sleep(_POLL_SECONDS)


def _last_words(seen: dict[str, Domain | None]) -> str:
    """Return what the first silent daemon logged last: a port in use, a driver that is gone."""
    for node, domain in seen.items():
        log = NodeFolder.of(node).driver_root / LOG
        if domain is None and log.exists() and (lines := log.read_text(errors="replace").splitlines()):
            return f"; nvidia-imex of {node} said: {lines[-1]}"
    return ""
