"""Take one step through a door, and tell what came of it as text."""

from __future__ import annotations

import os
import stat
import threading
from dataclasses import dataclass, field
from string import Template

from claimwright.e2e.kernel_lab.door import FileDoor, OpenFile, Request
from claimwright.e2e.kernel_lab.steps import (
    Close,
    Finish,
    Ioctl,
    ListFolder,
    Open,
    Pending,
    Read,
    ReadLink,
    Stat,
    Step,
    Write,
)

_READ_BYTES = 4096
_WAITS_SECONDS = 0.3  # a write that is done would long have ended: the slowest seen takes 20 ms (TCG)
_FINISH_SECONDS = 20.0
_OPEN_FLAGS = {None: os.O_RDWR, "read": os.O_RDONLY, "write": os.O_WRONLY}


@dataclass
class Stage:
    """What the steps of one case share: the symbols' meanings, what is open, and what waits."""

    door: FileDoor
    symbols: dict[str, str]
    open_files: dict[str, OpenFile] = field(default_factory=dict)
    begun: dict[str, Begun] = field(default_factory=dict)

    def say(self, text: str) -> str:
        """Put the symbols' meanings into a text; KeyError for one that this world lacks."""
        return Template(text).substitute(self.symbols)

    def close(self) -> None:
        """Let go of everything, newest first, then wait for what was blocked by it."""
        while self.open_files:
            self.open_files.popitem()[1].close()
        for begun in self.begun.values():
            begun.join(_FINISH_SECONDS)


class Begun:
    """A write that runs beside the steps that follow it."""

    def __init__(self, door: FileDoor, path: str, data: bytes, *, truncate: bool) -> None:
        self._thread = threading.Thread(target=self._run, args=(door, path, data, truncate), daemon=True)
        self._count = 0
        self._error: OSError | None = None
        self._thread.start()

    def _run(self, door: FileDoor, path: str, data: bytes, truncate: bool) -> None:
        try:
            self._count = door.write(path, data, truncate=truncate)
        except OSError as error:
            self._error = error

    def join(self, seconds: float) -> bool:
        """Wait for its end; tell whether it came."""
        self._thread.join(seconds)
        return not self._thread.is_alive()

    def outcome(self) -> int:
        """Return the count accepted, or raise what the write raised; TimeoutError when it never ends."""
        if not self.join(_FINISH_SECONDS):
            raise TimeoutError(None, f"the write still waits after {_FINISH_SECONDS:.0f} s")
        if self._error is not None:
            raise self._error
        return self._count


def act(step: Step, stage: Stage) -> str | tuple[str, ...]:  # noqa: C901, PLR0911 - one line a verb
    """Take a step; return what it gave as text, a folder's names as a tuple; OSError is the host's refusal."""
    match step:
        case Write():
            return _write(step, stage)
        case Pending(pending=name):
            return "ended" if stage.begun[name].join(_WAITS_SECONDS) else "waits"
        case Finish(finish=name):
            return str(stage.begun.pop(name).outcome())
        case Read(read=str() as path):
            return stage.door.read(stage.say(path)).decode(errors="backslashreplace")
        case Read(through=str() as name):
            return stage.open_files[name].read(_READ_BYTES).decode(errors="backslashreplace")
        case ReadLink(readlink=path):
            return stage.door.readlink(stage.say(path))
        case ListFolder(list=path):
            return tuple(sorted(stage.door.list(stage.say(path))))
        case Stat(stat=path):
            return stat_text(stage.door.stat(stage.say(path)))
        case Open(open=path, named=name):
            stage.open_files[name] = stage.door.open(stage.say(path), _OPEN_FLAGS[step.only])
        case Close(close=name):
            stage.open_files.pop(name).close()
        case Ioctl():
            return _ioctl(step, stage)
        case _:
            raise TypeError(f"no way to take {step!r}")
    return ""


def written(step: Write, stage: Stage) -> bytes:
    """Return the bytes that a write hands over."""
    return (stage.say(step.write) * (1 if step.times is None else step.times)).encode()


def stat_text(found: os.stat_result) -> str:
    """Return `file 0200 4096`, `folder 0755` or `character 0600 10:196`."""
    bits = f"{stat.S_IMODE(found.st_mode):04o}"
    if stat.S_ISDIR(found.st_mode):
        return f"folder {bits}"
    if stat.S_ISCHR(found.st_mode):
        return f"character {bits} {os.major(found.st_rdev)}:{os.minor(found.st_rdev)}"
    return f"file {bits} {found.st_size}" if stat.S_ISREG(found.st_mode) else f"other {bits}"


def _write(step: Write, stage: Stage) -> str:
    data = written(step, stage)
    if step.through is not None:
        return str(stage.open_files[step.through].write(data))
    path = stage.say(step.to or "")
    if step.begin is not None:
        stage.begun[step.begin] = Begun(stage.door, path, data, truncate=step.truncate)
        return "begun"
    return str(stage.door.write(path, data, truncate=step.truncate))


def _ioctl(step: Ioctl, stage: Stage) -> str:
    argument: OpenFile | str | int | None = step.number
    if step.using is not None:
        argument = stage.open_files[step.using]
    elif step.device is not None:
        argument = stage.say(step.device)
    answer = stage.open_files[step.at].ioctl(Request(step.ioctl), argument)
    if answer is None or isinstance(answer, str):
        return answer or ""
    stage.open_files[step.named or "device"] = answer
    return ""
