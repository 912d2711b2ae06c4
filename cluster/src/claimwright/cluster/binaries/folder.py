"""Programs that the user already has: an explicit folder, or KUBEBUILDER_ASSETS (the envtest convention)."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from claimwright.cluster import errors


def chosen_folder(explicit: Path | None, environment: Mapping[str, str] = os.environ) -> Path | None:
    """Return the folder to look in first; the command line wins over the environment.

    Raises InvalidRequest when the named folder is not there: falling through to a ten-minute build would
    surprise whoever named it.
    """
    named = explicit or (Path(value) if (value := environment.get("KUBEBUILDER_ASSETS")) else None)
    if named is not None and not named.is_dir():
        origin = "--binaries" if explicit else "KUBEBUILDER_ASSETS"
        raise errors.InvalidRequest(f"{origin} names {named}, which is no folder: make it or leave it out")
    return named


def find_in(folder: Path, name: str) -> Path | None:
    """Return the executable `name` of `folder`, or None."""
    path = folder / name
    return path if path.is_file() and os.access(path, os.X_OK, effective_ids=True) else None
