"""`dra_health_state`: the last known device health, for whoever looks into the node's folder."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Final

from claimwright.dra.files import write_atomically
from claimwright.emulator.kubelet.pods import JsonObject

_LOG: Final = logging.getLogger(__name__)


def write_health(path: Path, state: JsonObject) -> None:
    """Write the file; as in the kubelet a failure is only logged, since nothing depends on it."""
    try:
        write_atomically(path, json.dumps(state), mode=0o600, durable=False)
    except OSError as error:
        _LOG.warning("device health was not written to %s: %s", path, error)
