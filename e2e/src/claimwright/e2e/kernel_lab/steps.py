"""The steps that an operation is made of, as values; the table's text is a list of these.

Every step expects one outcome: `errno`, or success with what it `gives` (exactly), `matches` (a whole regular
expression, whose named groups become symbols of the steps that follow), `has` or `lacks` (names in a folder). A write
that says nothing else must be accepted whole.
"""

from __future__ import annotations

from dataclasses import dataclass, fields


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """What every step may expect."""

    errno: str | None = None
    gives: str | None = None
    matches: str | None = None
    has: tuple[str, ...] = ()
    lacks: tuple[str, ...] = ()

    def __str__(self) -> str:
        said = (
            (field.name, getattr(self, field.name)) for field in fields(self) if field.name not in _EXPECTED
        )
        return " ".join(f"{name} {_shown(value)}" for name, value in said if value not in {None, False})


@dataclass(frozen=True, slots=True, kw_only=True)
class Write(Step):
    """One write(2) of a text, repeated `times` in it: to a path (opened for it) or through an open file.

    With `begin` it runs beside the next steps under that name: the kernel may make it wait.
    """

    write: str
    to: str | None = None
    through: str | None = None
    times: int | None = None
    truncate: bool = False
    begin: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Pending(Step):
    """The write begun under this name still waits."""

    pending: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Finish(Step):
    """The write begun under this name ends, with its outcome."""

    finish: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Read(Step):
    """Read a path, or through an open file from where it is."""

    read: str | None = None
    through: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadLink(Step):
    """Read a link's text."""

    readlink: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ListFolder(Step):
    """List a folder; `gives` is the sorted names with a blank between."""

    list: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Stat(Step):
    """Tell what is there: `file 0200 4096`, `folder 0755`, `character 0600 10:196`."""

    stat: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Open(Step):
    """Open a path to read and write and keep it under a name; `only` is `read` or `write`."""

    open: str
    named: str
    only: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Close(Step):
    """Close what is open under this name."""

    close: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Ioctl(Step):
    """Ask VFIO on an open file: `using` another open file, about a `device`, or with a `number`."""

    ioctl: str
    at: str
    using: str | None = None
    device: str | None = None
    number: int | None = None
    named: str | None = None


VERBS: dict[str, type[Step]] = {
    "write": Write,
    "pending": Pending,
    "finish": Finish,
    "read": Read,
    "readlink": ReadLink,
    "list": ListFolder,
    "stat": Stat,
    "open": Open,
    "close": Close,
    "ioctl": Ioctl,
}

_EXPECTED = {"errno", "gives", "matches", "has", "lacks"}
_LONGEST_SHOWN = 60


def _shown(value: object) -> str:
    if not isinstance(value, str):
        return str(value)
    text = value if value.isprintable() and value else repr(value)
    return text if len(text) <= _LONGEST_SHOWN or text.startswith("/") else f"{text[:_LONGEST_SHOWN]}…"
