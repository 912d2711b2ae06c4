"""Compile the modules of a tree, so that a container starts without compiling and needs no writable folder.

Unchecked hash-based pyc files (PEP 552): no times in them, and nothing is compared at import.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path, PurePosixPath
from typing import Final

from claimwright.driver.errors import NodeUnusable
from claimwright.driver.image.tree import Content, Tree

_SECONDS: Final = 300.0
_PROGRAM: Final = """
import json, py_compile, sys
for source, compiled, shown in json.load(sys.stdin):
    mode = py_compile.PycInvalidationMode.UNCHECKED_HASH
    py_compile.compile(source, compiled, shown, doraise=True, invalidation_mode=mode)
"""


def compiled(tree: Tree, scratch: Path) -> dict[PurePosixPath, Content]:
    """Return the compiled form of each module in `tree`, kept below `scratch`."""
    tag = sys.implementation.cache_tag
    jobs, found = [], {}
    for index, (path, entry) in enumerate(sorted(tree.items())):
        if path.suffix == ".py" and isinstance(entry, Content) and entry.source is not None:
            place = scratch / f"{index}.pyc"
            jobs.append((str(entry.source), str(place), str(path)))
            found[path.parent / "__pycache__" / f"{path.stem}.{tag}.pyc"] = Content(place)
    _compile(jobs)
    return found


def _compile(jobs: list[tuple[str, str, str]]) -> None:
    # A process of its own, without hash randomisation: what is interned there, and in which order, shows in the bytes.
    ended = subprocess.run(
        [sys.executable, "-S", "-s", "-W", "ignore", "-c", _PROGRAM],
        input=json.dumps(jobs), env={"PYTHONHASHSEED": "0"}, capture_output=True, text=True, timeout=_SECONDS,
        check=False,
    )  # fmt: skip
    if ended.returncode != 0:
        raise NodeUnusable(f"the driver's modules do not compile: {ended.stderr.strip()[-500:]}")
