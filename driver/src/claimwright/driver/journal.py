"""The journal: what the driver is about to do and has done, on disk before it happens.

Format, version 1. A text file of lines `<crc> <json>`, where `<crc>` is the CRC-32 (zlib) of the JSON text as
eight lower-case hexadecimal digits, so that the stored bytes themselves are checked. The first line is

    {"is": "journal", "version": 1, "driver": "gpu.nvidia.com", "boot": "<boot id>"}

and each other line one of

    {"is": "begun", "claim": {"namespace", "name", "uid"}, "devices": [...], "steps": [{"tool", "arguments"}]}
    {"is": "acting", "uid": ..., "step": n}     before a step whose effect the hardware does not report; "found" holds
                                                what its tool found before it acted, to go back to that
    {"is": "prepared", "uid": ...}
    {"is": "releasing", "uid": ...}
    {"is": "released", "uid": ...}              the claim is forgotten

Zero bytes at the end are spare room. A last line that is cut or damaged is what a crash leaves and is
dropped. Damage anywhere else, another
version or another driver's file raises CorruptJournal, and `set_aside` keeps the file for inspection. Lines
are added by one thread: everything that waits goes down with one write and one fdatasync. The file is
rewritten with the live entries only when it has grown.
"""

from __future__ import annotations

import asyncio
import errno
import json
import os
import queue
import threading
import zlib
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from claimwright.dra.files import remove_leftovers, write_atomically
from claimwright.driver.entries import Entry, State, decode_entry, encode_entry
from claimwright.driver.errors import DriverError, JournalUnwritable

VERSION = 1
Record = Mapping[str, Any]
_GROWN_LINES = 4096
_SPARE_BYTES = 256 * 1024
# `json.dumps` would make one for each line.
_ENCODER = json.JSONEncoder(separators=(",", ":"), sort_keys=True)


class CorruptJournal(DriverError):
    """The journal cannot be trusted; set it aside and rebuild from the world."""


class JournalFile(Protocol):
    """The journal's file as its writer sees it; the crash tests put a treacherous one here."""

    def append(self, data: bytes, *, durable: bool) -> None:
        """Add `data`, and with `durable` make it and all before it so; after an error the file is as before."""
        ...

    def replace(self, data: bytes) -> None:
        """Make `data` the whole content, atomically and durably."""
        ...

    def close(self) -> None:
        """Close it."""
        ...


class DiskFile:
    """A journal file on a disk. It is kept longer than its content, with zeros at the end.

    Writing over zeros that are on the disk changes no metadata, so that a sync takes half the time of one after
    an append (measured on ext4).
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._descriptor = -1
        self._size = 0
        self._allocated = 0

    def append(self, data: bytes, *, durable: bool) -> None:
        """Add `data`; after an error the file is cut back, at the latest by the next call."""
        if self._descriptor < 0:
            self._open()
        fits = self._size + len(data) <= self._allocated
        padded = data if fits else data + bytes(_SPARE_BYTES)
        try:
            written = os.pwrite(self._descriptor, padded, self._size)
            if durable:
                os.fdatasync(self._descriptor)
            _check_whole(written, len(padded))
        except OSError:
            # Also after a failed sync: the kernel may have dropped the pages, so the lines must not count.
            self._cut_back()
            raise
        self._allocated = max(self._allocated, self._size + len(padded))
        self._size += len(data)

    def replace(self, data: bytes) -> None:
        """Make `data` the whole content, atomically and durably."""
        write_atomically(self.path, data + bytes(_SPARE_BYTES), mode=0o600)
        self.close()
        self._size, self._allocated = len(data), len(data) + _SPARE_BYTES

    def close(self) -> None:
        """Close the descriptor; `append` opens it again."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def _open(self) -> None:
        self._descriptor = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
        os.ftruncate(self._descriptor, self._allocated)

    def _cut_back(self) -> None:
        self._allocated = self._size
        try:
            os.ftruncate(self._descriptor, self._size)
        except OSError:
            self.close()  # opening it again cuts it


def _check_whole(written: int, wanted: int) -> None:
    if written != wanted:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@dataclass(frozen=True)
class Loaded:
    """A journal's content: the boot it belongs to and the claims in the order they began."""

    boot_id: str
    entries: Mapping[str, Entry] = field(default_factory=dict)


def load(path: Path, driver: str) -> Loaded | None:
    """Read a journal; None when there is none, CorruptJournal when it cannot be trusted."""
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return None
    records = _records(data, path)
    if not records:
        return None
    header = records[0]
    if header.get("is") != "journal" or header.get("driver") != driver:
        raise CorruptJournal(f"{path} is no journal of {driver}: it begins with {json.dumps(header)[:200]}")
    if header.get("version") != VERSION:
        raise CorruptJournal(f"{path} has version {header.get('version')!r}; this driver reads {VERSION}")
    return Loaded(str(header.get("boot", "")), _replay(records[1:], path))


def set_aside(path: Path, when: float) -> Path:
    """Rename a corrupt journal so that it is kept beside the new one; returns its new path."""
    kept = path.with_name(f"{path.name}.corrupt-{int(when)}")
    number = 0
    while kept.exists():
        number += 1
        kept = path.with_name(f"{path.name}.corrupt-{int(when)}-{number}")
    path.rename(kept)
    return kept


@dataclass(frozen=True)
class _Waiting:
    """Records on their way to the disk as lines, and who waits for them to be durable."""

    records: Sequence[Record]
    lines: Sequence[bytes]
    done: asyncio.Future[None] | None

    @classmethod
    def of(cls, records: Sequence[Record], done: asyncio.Future[None] | None = None) -> _Waiting:
        return cls(records, tuple(_line(record) for record in records), done)


class Journal:
    """The open journal. `commit` waits until its records are durable, together with all who wait.

    One event loop calls it. Its writer thread has the file while anything is on its way there; between times a
    `post` goes to the file at once, because waking the thread takes ten times as long as the write.
    """

    def __init__(self, file: JournalFile, *, driver: str, boot_id: str, entries: Sequence[Entry]) -> None:
        self._file = file
        self._header = _line({"is": "journal", "version": VERSION, "driver": driver, "boot": boot_id})
        self._live: dict[str, list[bytes]] = {}
        self._lines = 0
        self._queue: queue.SimpleQueue[_Waiting | None] = queue.SimpleQueue()
        self._given = 0  # counted by the loop
        self._written = 0  # counted by the writer
        for entry in entries:
            self._keep(_Waiting.of(_records_of(entry)))
        file.replace(self._snapshot())
        self._writer = threading.Thread(target=self._write_until_closed, name="journal", daemon=True)
        self._writer.start()

    @classmethod
    def create(cls, path: Path, *, driver: str, boot_id: str, entries: Sequence[Entry] = ()) -> Journal:
        """Start a journal at `path` with the entries that are still true."""
        path.parent.mkdir(parents=True, exist_ok=True)
        remove_leftovers(path)
        return cls(DiskFile(path), driver=driver, boot_id=boot_id, entries=entries)

    async def commit(self, *records: Record) -> None:
        """Return when `records` are durable; JournalUnwritable when they are not."""
        done = asyncio.get_running_loop().create_future()
        self._give(_Waiting.of(records, done))
        await done

    def post(self, *records: Record) -> None:
        """Write records that nobody waits for: they survive this process, and a power cut after the next sync."""
        waiting = _Waiting.of(records)
        if self._given == self._written:
            self._add([waiting])
        else:
            self._give(waiting)

    def close(self) -> None:
        """Write what waits and close the file."""
        self._queue.put(None)
        self._writer.join(timeout=30)
        self._file.close()

    def _give(self, waiting: _Waiting) -> None:
        self._given += 1
        self._queue.put(waiting)

    def _write_until_closed(self) -> None:
        while True:
            group, last = self._next_group()
            if group:
                error = self._add(group)
                self._shrink_when_grown()
                self._written += len(group)
                _tell(group, error)
            if last:
                return

    def _next_group(self) -> tuple[list[_Waiting], bool]:
        """Wait for one, then take all that have come meanwhile; the flag says that it was the last group."""
        waiting = self._queue.get()
        group: list[_Waiting] = []
        while waiting is not None:
            group.append(waiting)
            try:
                waiting = self._queue.get_nowait()
            except queue.Empty:
                return group, False
        return group, True

    def _add(self, group: list[_Waiting]) -> BaseException | None:
        try:
            lines = b"".join(line for waiting in group for line in waiting.lines)
            self._file.append(lines, durable=any(waiting.done is not None for waiting in group))
        except BaseException as error:  # noqa: BLE001  whoever waits must hear of it, whatever it is
            return _unwritable(error)
        for waiting in group:
            self._keep(waiting)
        return None

    def _keep(self, waiting: _Waiting) -> None:
        self._lines += len(waiting.lines)
        for record, line in zip(waiting.records, waiting.lines, strict=True):
            uid = str(record["claim"]["uid"]) if record["is"] == "begun" else str(record["uid"])
            if record["is"] == "begun":
                self._live[uid] = []
            if record["is"] == "released":
                self._live.pop(uid, None)
            elif uid in self._live:
                self._live[uid].append(line)

    def _snapshot(self) -> bytes:
        return b"".join([self._header, *(line for lines in self._live.values() for line in lines)])

    def _shrink_when_grown(self) -> None:
        live = sum(len(lines) for lines in self._live.values())
        if self._lines > max(_GROWN_LINES, 4 * live):
            try:
                self._file.replace(self._snapshot())
            except Exception:  # noqa: BLE001  the long file is as good; the next group tries again
                return
            self._lines = live


def _tell(group: Sequence[_Waiting], error: BaseException | None) -> None:
    """Wake all who wait, with one call to their loop."""
    waiters = [waiting.done for waiting in group if waiting.done is not None]
    if waiters:
        with suppress(RuntimeError):  # the loop is closed: nobody waits any more
            waiters[0].get_loop().call_soon_threadsafe(_settle, waiters, error)


def _settle(waiters: Sequence[asyncio.Future[None]], error: BaseException | None) -> None:
    for done in waiters:
        if done.done():
            continue  # who waited was cancelled
        if error is None:
            done.set_result(None)
        else:
            done.set_exception(error)


def begun(entry: Entry) -> Record:
    """Record that `entry` is about to be prepared."""
    return {"is": "begun", **encode_entry(entry)}


def acting(uid: str, step: int, found: Mapping[str, Any] | None = None) -> Record:
    """Record that a step without a visible trace is about to act, and what it found before."""
    record = {"is": "acting", "uid": uid, "step": step}
    return {**record, "found": dict(found)} if found else record


def reached(uid: str, state: State) -> Record:
    """Record that a claim is prepared, or is about to be released."""
    return {"is": state.value, "uid": uid}


def released(uid: str) -> Record:
    """Record that a claim is gone."""
    return {"is": "released", "uid": uid}


def _records_of(entry: Entry) -> list[Record]:
    records = [begun(entry), *(acting(entry.uid, step) for step in sorted(entry.acted))]
    return records if entry.state is State.PREPARING else [*records, reached(entry.uid, entry.state)]


def _line(record: Record) -> bytes:
    text = _ENCODER.encode(record).encode()
    return b"%08x %s\n" % (zlib.crc32(text), text)


def _records(data: bytes, path: Path) -> list[dict[str, Any]]:
    *lines, rest = data.rstrip(b"\0").split(b"\n")
    records = []
    for number, line in enumerate(lines, start=1):
        record = _record(line)
        if record is not None:
            records.append(record)
        elif number < len(lines) or rest:
            raise CorruptJournal(f"{path} line {number} fails its checksum: {line[:80]!r}")
    return records


def _record(line: bytes) -> dict[str, Any] | None:
    crc, _, text = line.partition(b" ")
    if crc != b"%08x" % zlib.crc32(text):
        return None
    try:
        record = json.loads(text)
    except ValueError:
        return None
    return record if isinstance(record, dict) else None


def _replay(records: Sequence[Mapping[str, Any]], path: Path) -> dict[str, Entry]:
    entries: dict[str, Entry] = {}
    for number, record in enumerate(records, start=2):
        try:
            _apply(entries, record)
        except (KeyError, TypeError, ValueError) as error:
            raise CorruptJournal(f"{path} line {number} makes no sense: {error!r}") from error
    return entries


def _apply(entries: dict[str, Entry], record: Mapping[str, Any]) -> None:
    if record["is"] == "begun":
        entry = decode_entry(record)
        entries[entry.uid] = entry
    elif record["is"] == "released":
        entries.pop(record["uid"], None)
    elif record["is"] == "acting":
        entry = entries[record["uid"]]
        entries[entry.uid] = entry.acting(int(record["step"]), record.get("found", {}))
    else:
        entry = entries[record["uid"]]
        entries[entry.uid] = entry.at(State(record["is"]))


def _unwritable(error: BaseException) -> BaseException:
    if not isinstance(error, OSError):
        return error
    return JournalUnwritable(
        f"the driver's journal cannot be written: {error.strerror or error}. Nothing was changed; "
        "free space on the disk that holds the kubelet's plugins directory."
    )
