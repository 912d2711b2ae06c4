"""The CDI spec of one claim as a step: a file that is there or not."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final, Literal, TypeAlias

from claimwright.dra.cdi import (
    CdiDevice,
    CdiError,
    CdiSpec,
    ContainerEdits,
    minimum_version,
    spec_path,
    spec_to_object,
    validate,
)
from claimwright.dra.files import write_atomically
from claimwright.driver.edits import EditBook, EditCall
from claimwright.driver.errors import ClaimRefused, StepFailed
from claimwright.driver.steps import Probe, Step

TOOL: Final = "claim-spec"
KIND: Final = "k8s.gpu.nvidia.com/claim"
Format: TypeAlias = Literal["json", "yaml"]
_FORMATS: Final[tuple[Format, ...]] = ("json", "yaml")
# A file name has 255 bytes at most; Kubernetes' uids have 36.
_LONGEST_UID: Final = 128
_SUFFIXES: Final = re.compile(r"\.(?:json|yaml)$")


def claim_spec(
    uid: str, devices: Iterable[tuple[str, Sequence[EditCall]]], edits: Sequence[EditCall]
) -> Step:
    """Write the claim's spec: its CDI devices with their edits, and the edits that all its containers get."""
    named = [[name, [dict(call) for call in calls]] for name, calls in devices]
    return Step(TOOL, {"claim": uid, "devices": named, "edits": [dict(call) for call in edits]})


def check_uid(uid: str) -> None:
    """Refuse a uid that could leave the CDI folder or is too long there: it becomes part of a file name."""
    if len(uid) > _LONGEST_UID:
        raise ClaimRefused(
            f"claim uid {uid[:40]}… has {len(uid)} characters, at most {_LONGEST_UID} are expected"
        )
    try:
        spec_path(Path(), KIND, transient_id=uid)
    except CdiError as error:
        raise ClaimRefused(f"claim uid: {error}") from error


def cdi_name(uid: str, device: str, share_id: str | None = None) -> str:
    """Return the CDI device name of one result; shares of one device in one claim stay apart."""
    return f"{uid}-{device}" if share_id is None else f"{uid}-{device}-{share_id}"


def kind_of(driver: str) -> str:
    """Return the kind of a driver's claim specs."""
    return f"k8s.{driver}/claim"


def specs_in(folder: Path, kind: str = KIND) -> Iterator[tuple[str, Path]]:
    """Yield claim uid and file of every claim spec of one kind in a CDI folder."""
    prefix = _prefix(kind)
    for path in sorted(folder.glob(f"{prefix}*")):
        uid = _SUFFIXES.sub("", path.name.removeprefix(prefix))
        if uid and _SUFFIXES.search(path.name):
            yield uid, path


def leftovers_in(folder: Path, kind: str = KIND) -> Iterator[Path]:
    """Yield what `write_atomically` leaves of claim specs when it is killed."""
    yield from folder.glob(f".{_prefix(kind)}*.tmp")


def _prefix(kind: str) -> str:
    return f"{kind.replace('/', '-')}_"


def nodes_in(folder: Path, uid: str, device: str) -> frozenset[str]:
    """Return the paths of the device nodes that a claim's CDI device gives, nothing when there is no such device."""
    path = spec_path(folder, KIND, transient_id=uid, format="json")
    try:
        found = json.loads(path.read_text(encoding="utf-8"))["devices"]
        edits = next(each["containerEdits"] for each in found if each["name"] == device)
        return frozenset(str(node["path"]) for node in edits.get("deviceNodes", ()))
    except (OSError, ValueError, LookupError, TypeError, StopIteration):
        return frozenset()  # whatever is wrong with it, it is no memory


class ClaimSpecTool:
    """Writes and removes claim specs in one CDI folder."""

    name = TOOL
    visible = True
    recorded = False
    refreshes = True
    # A file on the tmpfs that /var/run is; a hop to another thread takes as long. What goes into it may take longer.
    quick = True

    def __init__(self, folder: Path, book: EditBook, kind: str = KIND) -> None:
        self._folder = folder
        self._kind = kind
        self._book = book
        self._shared: _Shared | None = None

    def does_quickly(self, step: Step) -> bool:
        """Tell whether all its edits are made quickly."""
        return all(self._book.is_quick(calls) for _, calls in step.arguments["devices"])

    def do(self, step: Step) -> None:
        """Write the spec; StepFailed when something that it would name is not there."""
        devices = tuple(CdiDevice(name, self._book.make(calls)) for name, calls in step.arguments["devices"])
        try:
            document = self._document(
                CdiSpec(self._kind, devices=devices), self._book.make(step.arguments["edits"])
            )
        except CdiError as error:
            raise StepFailed(f"claim spec of {step.arguments['claim']} cannot be written: {error}") from error
        self._folder.mkdir(mode=0o755, parents=True, exist_ok=True)
        # Not durable on purpose: a power cut ends the boot, and with it every prepared claim.
        write_atomically(self._path(step, "json"), json.dumps(document), durable=False)

    def undo(self, step: Step) -> None:
        """Remove the spec."""
        for suffix in _FORMATS:
            self._path(step, suffix).unlink(missing_ok=True)

    def probe(self, step: Step) -> Probe:
        """Look for the file."""
        return Probe.DONE if any(self._path(step, suffix).exists() for suffix in _FORMATS) else Probe.NOT_DONE

    def _path(self, step: Step, suffix: Format) -> Path:
        return spec_path(self._folder, self._kind, transient_id=step.arguments["claim"], format=suffix)

    def _document(self, spec: CdiSpec, edits: ContainerEdits) -> dict[str, Any]:
        """Join the devices with the edits of the whole claim; those of the last claim are still spelled out."""
        shared = self._shared  # another thread may put those of another claim there
        if shared is None or shared.edits is not edits:
            shared = self._shared = _Shared.make(spec, edits)
        validate(spec)
        version = max(minimum_version(spec), shared.version, key=_version_order)
        document = {**spec_to_object(spec), "cdiVersion": version}
        return {**document, "containerEdits": shared.document} if shared.document else document


@dataclass(frozen=True)
class _Shared:
    """The spec's own edits as they are written: long, mostly the same for all claims, checked once."""

    edits: ContainerEdits
    document: Mapping[str, Any]
    version: str

    @classmethod
    def make(cls, spec: CdiSpec, edits: ContainerEdits) -> _Shared:
        whole = replace(spec, edits=edits)
        validate(whole)
        return cls(edits, spec_to_object(whole).get("containerEdits", {}), minimum_version(whole))


def _version_order(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split("."))
