"""Device metadata files of prepared claims and the CDI specs that mount them (KEP-5304)."""

from __future__ import annotations

import json
import os
import re
import reprlib
import shutil
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Final

from claimwright.dra import metadata
from claimwright.dra.cdi import CdiDevice, CdiSpec, ContainerEdits, Mount, qualified_name, spec_to_object
from claimwright.dra.claims import Claim, ClaimReference
from claimwright.dra.errors import DraError
from claimwright.dra.files import remove_durably, write_atomically
from claimwright.dra.metadata import DeviceEntry, DeviceMetadata, RequestEntry
from claimwright.dra.prepared import PreparedDevice

# Longer than any write takes, or the kubelet waits for one.
_WRITING_SECONDS: Final = 120.0
_NAME: Final = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?", re.ASCII)
# resource.k8s.io: names of objects are DNS subdomains.
_LONGEST_NAME: Final = 253


class UnsafeName(DraError):
    """A name that must not become part of a path."""


class MetadataFiles:
    """Writes one file and one CDI spec for each request of a claim; all verbs are idempotent."""

    def __init__(
        self, driver: str, plugin_dir: Path, cdi_dir: Path, *, versions: Sequence[str] = metadata.VERSIONS
    ) -> None:
        self._driver = driver
        self._folder = plugin_dir / "dra-device-metadata"
        self._cdi_dir = cdi_dir
        self._versions = tuple(versions)

    def write(self, claim: Claim, devices: Sequence[PreparedDevice]) -> tuple[PreparedDevice, ...]:
        """Write a claim's files and add each request's CDI id to its first device; raises OSError."""
        found = list(devices)
        for request, members in self._requests(claim, devices).items():
            chosen = {result.base_request: result.request for result in claim.results_of(self._driver)}
            entry = RequestEntry(
                chosen.get(request, request), tuple(self._entry(devices[i]) for i in members)
            )
            self._write_request(claim, request, entry)
            cdi_id = qualified_name(self._kind, f"{claim.uid}_{request}")
            first = found[members[0]]
            found[members[0]] = replace(first, cdi_ids=(*first.cdi_ids, cdi_id))
        return tuple(found)

    def update(
        self, claim: ClaimReference, request: str, devices: Sequence[PreparedDevice]
    ) -> DeviceMetadata:
        """Rewrite a request's file for late data; raises FileNotFoundError if it was never written."""
        path = self._path(claim, request)
        known = metadata.read(path, known=self._versions)
        entry = RequestEntry(known.requests[0].name, tuple(self._entry(device) for device in devices))
        return metadata.rewrite(path, replace(known, requests=(entry,)), versions=self._versions)

    def remove(self, claim: ClaimReference) -> None:
        """Remove a claim's specs and files, by its uid and name; missing ones are fine."""
        for uid, spec in self._specs():
            if uid == claim.uid:
                remove_durably(spec)
        shutil.rmtree(self._claim_folder(claim), ignore_errors=True)

    def remove_orphans(self, held: Collection[str]) -> None:
        """Remove specs and files of claims other than those `held`, by uid: what a killed driver could not remove."""
        for uid, spec in self._specs():
            if uid not in held:
                remove_durably(spec)
        for folder in self._folder.glob("*/*"):
            path = folder / "metadata.json"
            owner = self._owner(path)
            if owner not in held if owner is not None else _is_abandoned(path):
                shutil.rmtree(folder, ignore_errors=True)
                with suppress(OSError):  # another request's folder is still in it
                    folder.parent.rmdir()

    def _specs(self) -> Iterator[tuple[str, Path]]:
        """Yield all specs with the uids of their claims, and what writers of them left that were killed.

        By comparing names: a pattern with a uid in it is compiled, and the last five hundred are kept.
        """
        begin = f"{self._driver}_metadata_"
        for name in sorted(_names_in(self._cdi_dir)):
            visible = name.removeprefix(".")
            if visible.startswith(begin) and name.endswith(".json" if visible == name else ".tmp"):
                yield visible.removeprefix(begin).partition("_")[0], self._cdi_dir / name

    def _owner(self, path: Path) -> str | None:
        """Return the uid of the claim that a file is of; None when only another version can tell."""
        try:
            return metadata.read(path, known=self._versions).uid
        except (OSError, metadata.MalformedMetadata):
            return None

    @property
    def _kind(self) -> str:
        return f"{self._driver}/metadata"

    def _requests(self, claim: Claim, devices: Sequence[PreparedDevice]) -> Mapping[str, list[int]]:
        every = tuple(dict.fromkeys(result.base_request for result in claim.results_of(self._driver)))
        found: dict[str, list[int]] = {}
        for index, device in enumerate(devices):
            for request in device.requests or every:
                found.setdefault(request, []).append(index)
        return found

    def _entry(self, device: PreparedDevice) -> DeviceEntry:
        return DeviceEntry(self._driver, device.pool, device.device, device.attributes or {}, device.network)

    def _write_request(self, claim: Claim, request: str, entry: RequestEntry) -> None:
        path = self._path(claim.reference, request)
        content = DeviceMetadata(
            namespace=claim.reference.namespace,
            name=claim.reference.name,
            uid=claim.uid,
            requests=(entry,),
            pod_claim_name=claim.pod_claim_name,
        )
        if not self._keeps(path, content):
            path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
            write_atomically(path, metadata.encode(content, versions=self._versions), mode=0o644)
        self._write_spec(claim, request, path)

    def _keeps(self, path: Path, content: DeviceMetadata) -> bool:
        # Running containers have this inode mounted: a repeated prepare leaves it alone, late data included.
        try:
            return metadata.read(path, known=self._versions).uid == content.uid
        except (FileNotFoundError, metadata.MalformedMetadata):
            return False

    def _write_spec(self, claim: Claim, request: str, path: Path) -> None:
        # Whoever writes a claim may write this annotation: the path is in their container, and still only there.
        pod_claim = None if claim.pod_claim_name is None else _safe(claim.pod_claim_name)
        target = metadata.container_path(
            self._driver, request, claim=claim.reference.name, pod_claim_name=pod_claim
        )
        mount = Mount(str(path.absolute()), target, options=("ro", "bind"))
        device = CdiDevice(f"{claim.uid}_{request}", ContainerEdits(mounts=(mount,)))
        # 0.5.0 as the Go helper writes it: a claim uid may begin with a digit.
        document = spec_to_object(CdiSpec(self._kind, (device,), version="0.5.0"))
        self._cdi_dir.mkdir(mode=0o755, parents=True, exist_ok=True)
        name = f"{self._driver}_metadata_{_safe(claim.uid)}_{_safe(request)}.json"
        write_atomically(self._cdi_dir / name, json.dumps(document, indent=2) + "\n", mode=0o644)

    def _claim_folder(self, claim: ClaimReference) -> Path:
        return self._folder / f"{_safe(claim.namespace)}_{_safe(claim.name)}"

    def _path(self, claim: ClaimReference, request: str) -> Path:
        return self._claim_folder(claim) / _safe(request) / "metadata.json"


def _names_in(folder: Path) -> Sequence[str]:
    try:
        return os.listdir(folder)  # noqa: PTH208  names only, on the way of each claim
    except FileNotFoundError:
        return ()


def _is_abandoned(path: Path) -> bool:
    """Tell whether a file was never written to the end, by a writer that is not at it any more."""
    try:
        return not path.exists() and time.time() - path.parent.stat().st_mtime > _WRITING_SECONDS
    except OSError:
        return False


def _safe(name: str) -> str:
    if not _NAME.fullmatch(name) or len(name) > _LONGEST_NAME:
        raise UnsafeName(
            f"name {reprlib.repr(name)} cannot be part of a file's path: expected letters, digits and ._-, "
            f"at most {_LONGEST_NAME}"
        )
    return name
