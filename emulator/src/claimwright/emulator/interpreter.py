"""How a node's Python is started: by the caller's own, with compiled modules at hand."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path

_NO_BYTECODE = "PYTHONDONTWRITEBYTECODE"


def module_command(module: str) -> list[str]:
    """Return the command that runs a module; arguments can be added."""
    return [sys.executable, *_bytecode_flags(), "-m", module]


def environment() -> Mapping[str, str]:
    """Return the environment for `module_command`."""
    return {name: value for name, value in os.environ.items() if name != _NO_BYTECODE}


def _bytecode_flags() -> list[str]:
    """Keep bytecode in the cache where it may not lie beside the sources, as in many containers.

    Without any, half the time of a boot is compiling the same four hundred modules again.
    """
    if not sys.dont_write_bytecode:
        return []
    cache = os.environ.get("XDG_CACHE_HOME", "")
    home = Path(cache) if Path(cache).is_absolute() else Path.home() / ".cache"
    return ["-X", f"pycache_prefix={home / 'claimwright/bytecode'}"]
