"""Boot racks, find them, stop them. A rack is its nodes and one record, written before the first of them boots."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from pathlib import Path

from claimwright.dra.files import write_atomically
from claimwright.emulator import running
from claimwright.emulator.errors import BootFailed, NodeExists, NodeNotFound
from claimwright.emulator.imex import Domain, ask
from claimwright.emulator.model import load_node_profile
from claimwright.emulator.node_folder import NodeFolder, NodeLock, nodes_folder
from claimwright.emulator.rack.plan import BOARDS, Rack, TraySeat, plan, tray_profile

Progress = Callable[[str], None]
_AT_ONCE = 3  # a boot is half computing, half waiting: more at once only compete for the processors
_DOMAIN_SECONDS = 60.0
_POLL_SECONDS = 0.05


def up(
    board: str,
    *,
    name: str,
    trays: int = 18,
    imex: bool = True,
    files: running.FilesAs = "auto",
    progress: Progress = lambda _line: None,
) -> Rack:
    """Boot a rack; return when every tray is up and, with `imex`, the IMEX domain is; `files` as in `running.up`.

    NodeExists, ProfileError and BootFailed leave nothing of the rack behind.
    """
    rack = plan(board, name=name, trays=trays, salt=str(racks_folder()))
    with _held(name):
        if _record(name).exists():
            raise NodeExists(f"rack {name!r} is known; `claimwright node rack down {name}` removes it")
        write_atomically(_record(name), json.dumps(rack.as_json()).encode(), mode=0o600, durable=False)
        try:
            _boot(rack, files, progress)
            if imex:
                _join(rack, progress)
        except BaseException:
            _remove(rack)
            raise
    return rack


def down(name: str) -> None:
    """Stop every node of a rack and forget it; NodeNotFound when there is none of that name."""
    with _held(name):
        _remove(load(name))


def load(name: str) -> Rack:
    """Return a rack by name; NodeNotFound lists those that are known."""
    try:
        return Rack.from_json(json.loads(_record(name).read_text()))
    except FileNotFoundError:
        names = ", ".join(rack.name for rack in list_racks()) or "none"
        raise NodeNotFound(
            f"there is no rack {name!r} (known: {names}); `claimwright node rack up` boots one"
        ) from None


def list_racks() -> list[Rack]:
    """Return all racks of this user, by name."""
    return [
        Rack.from_json(json.loads(record.read_text())) for record in sorted(racks_folder().glob("*.json"))
    ]


def racks_folder() -> Path:
    """Return the folder of all racks of this user."""
    return nodes_folder().with_name("racks")


def domains(rack: Rack) -> dict[str, Domain | None]:
    """Ask every tray's nvidia-imex for the domain as it sees it; None where none answers."""
    return {seat.node: ask(NodeFolder.of(seat.node).driver_root) for seat in rack.trays}


def wait_for_domain(rack: Rack, state: str, *, seconds: float = _DOMAIN_SECONDS) -> None:
    """Wait until every tray's daemon that answers sees the domain in this state; BootFailed says who does not."""
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
            )
        time.sleep(_POLL_SECONDS)


def _boot(rack: Rack, files: running.FilesAs, progress: Progress) -> None:
    profile = load_node_profile(BOARDS[rack.board])

    def boot(seat: TraySeat) -> str:
        running.up(tray_profile(profile, rack, seat), name=seat.node, files=files)
        return seat.node

    for done, node in enumerate(_each(boot, rack.trays), 1):
        progress(f"tray {done} of {len(rack.trays)} is up: {node}")


def _join(rack: Rack, progress: Progress) -> None:
    progress("the trays' nvidia-imex daemons find each other")
    for seat in rack.trays:
        node = running.load(seat.node)
        node.call("configure_imex", nodes=list(rack.addresses), address=seat.address)
        node.call("start_imex")
    wait_for_domain(rack, "UP")


def _remove(rack: Rack) -> None:
    known = set(running.known_names())

    def stop(seat: TraySeat) -> str:
        running.down(seat.node)
        return seat.node

    list(_each(stop, (seat for seat in rack.trays if seat.node in known)))
    _record(rack.name).unlink(missing_ok=True)


def _each(work: Callable[[TraySeat], str], seats: Iterable[TraySeat]) -> Iterator[str]:
    """Do the work for a few seats at a time; after the first error no more begin, and those begun are awaited."""
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        try:
            for future in as_completed([pool.submit(work, seat) for seat in seats]):
                yield future.result()
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise


@contextmanager
def _held(name: str) -> Iterator[None]:
    """Keep other commands off this rack: the lock of a node folder does, held by this process."""
    folder = NodeFolder(racks_folder() / name)
    folder.path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    lock = NodeLock.take(folder)
    try:
        yield
    finally:
        lock.release(folder)


def _record(name: str) -> Path:
    return racks_folder() / f"{name}.json"
