"""Boot racks, find them, mend them, stop them. A rack is its nodes and one record, written before the first boots."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from pathlib import Path

from claimwright.dra.files import write_atomically
from claimwright.emulator import running
from claimwright.emulator.errors import NodeError, NodeExists, NodeNotFound
from claimwright.emulator.model import load_node_profile
from claimwright.emulator.node_folder import NodeFolder, NodeLock, holder, nodes_folder
from claimwright.emulator.rack.domain import join, wait_for_domain
from claimwright.emulator.rack.plan import BOARDS, Rack, TraySeat, plan, tray_profile

Progress = Callable[[str], None]
_AT_ONCE = 3  # a boot is half computing, half waiting: more at once only compete for the processors


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

    NodeExists, ProfileError and BootFailed leave nothing of the rack behind, and nodes of others alone.
    """
    rack = plan(board, name=name, trays=trays, imex=imex, salt=str(racks_folder()))
    with _held(name):
        _refuse_taken(rack)
        write_atomically(_record(name), json.dumps(rack.as_json()).encode(), mode=0o600, durable=False)
        try:
            _boot(rack, rack.trays, files, progress)
            if imex:
                _join(rack, rack.trays, progress)
        except BaseException:
            _remove(rack)
            raise
    return rack


def repair(name: str, *, files: running.FilesAs = "auto", progress: Progress = lambda _line: None) -> Rack:
    """Boot the trays that are not up, start every nvidia-imex that does not run, and wait for the domain.

    Leaves trays that are well alone; a rack without IMEX stays so. BootFailed leaves the rack as far as it came.
    """
    with _held(name):
        rack = load(name)
        gone = [seat for seat in rack.trays if holder(NodeFolder.of(seat.node)) is None]
        _boot(rack, gone, files, progress)
        if rack.imex:
            _join(rack, [seat for seat in rack.trays if not _runs_imex(seat)], progress)
    return rack


def down(name: str) -> None:
    """Stop every node of a rack and forget it; NodeNotFound when there is none of that name."""
    load(name)
    with _held(name):
        _remove(load(name))


def load(name: str) -> Rack:
    """Return a rack by name; NodeNotFound lists those that are known, NodeError names a record that is none."""
    record = _record(name)
    try:
        return Rack.from_json(json.loads(record.read_text()))
    except FileNotFoundError:
        names = ", ".join(each.stem for each in _records()) or "none"
        raise NodeNotFound(
            f"there is no rack {name!r} (known: {names}); `claimwright node rack up` boots one"
        ) from None
    except (ValueError, TypeError, KeyError):
        raise NodeError(
            f"{record} is no record of a rack; remove it, then stop its trays with `claimwright node down`"
        ) from None


def list_racks() -> list[Rack]:
    """Return all racks of this user, by name."""
    return [load(record.stem) for record in _records()]


def racks_folder() -> Path:
    """Return the folder of all racks of this user."""
    return nodes_folder().with_name("racks")


def _records() -> list[Path]:
    return sorted(racks_folder().glob("*.json"))


def _record(name: str) -> Path:
    return racks_folder() / f"{name}.json"


def _refuse_taken(rack: Rack) -> None:
    if _record(rack.name).exists():
        raise NodeExists(f"rack {rack.name!r} is known; `claimwright node rack down {rack.name}` removes it")
    for seat in rack.trays:
        if holder(NodeFolder.of(seat.node)) is not None:
            raise NodeExists(
                f"rack {rack.name!r} needs a node {seat.node!r}, and there is another of that name: "
                f"`claimwright node down {seat.node}` stops it, --name names the rack otherwise"
            )


def _boot(rack: Rack, seats: Iterable[TraySeat], files: running.FilesAs, progress: Progress) -> None:
    profile = load_node_profile(BOARDS[rack.board])

    def boot(seat: TraySeat) -> str:
        running.up(tray_profile(profile, rack, seat), name=seat.node, files=files)
        return seat.node

    wanted = list(seats)
    for done, node in enumerate(_each(boot, wanted), 1):
        progress(f"tray {done} of {len(wanted)} is up: {node}")


def _join(rack: Rack, seats: Iterable[TraySeat], progress: Progress) -> None:
    progress("the trays' nvidia-imex daemons find each other")
    for seat in seats:
        join(rack, seat)
    wait_for_domain(rack, "UP")


def _runs_imex(seat: TraySeat) -> bool:
    service = running.load(seat.node).call("snapshot")["imex"]
    return bool(service and service["running"])


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
    try:
        lock = NodeLock.take(folder)
    except NodeExists:
        raise NodeExists(
            f"another command works on rack {name!r} at this moment; try again after it"
        ) from None
    try:
        yield
    finally:
        lock.release(folder)
