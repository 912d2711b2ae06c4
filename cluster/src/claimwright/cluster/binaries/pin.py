"""Write the pinned Go module of a Kubernetes release: `python -m claimwright.cluster.binaries.pin 1.37.1`.

`k8s.io/kubernetes` names its staging modules at version 0.0.0 with replacements by path; a requirement of it
needs the same replacements by version (v1.37.1 ↔ v0.37.1).
"""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

from claimwright.cluster import folders, programs
from claimwright.cluster.binaries.components import COMPONENTS
from claimwright.cluster.binaries.golang import find_go
from claimwright.cluster.progress import Lines

_SECONDS = 900.0
_STAGING = re.compile(r"^\s*(?:replace\s+)?(k8s\.io/\S+) => ", re.MULTILINE)


def pin(patch: str, modules: Path) -> Path:
    """Write go.mod and go.sum of Kubernetes `patch` below `modules` and return their folder."""
    go = find_go(folders.cache_folder(), Lines())
    folder = modules / patch.rsplit(".", 1)[0]
    folder.mkdir(parents=True, exist_ok=True)
    found = json.loads(
        programs.run(
            [go, "mod", "download", "-json", f"k8s.io/kubernetes@v{patch}"], timeout_seconds=_SECONDS
        )
    )
    (folder / "go.mod").write_text(module_file(patch, Path(found["GoMod"]).read_text()))
    for verb in ("tidy", "verify"):
        programs.run([go, "mod", verb], cwd=folder, timeout_seconds=_SECONDS)
    return folder


def module_file(patch: str, upstream: str) -> str:
    """Return the go.mod that builds Kubernetes `patch`, given the go.mod of Kubernetes itself."""
    staging = sorted(set(_STAGING.findall(upstream)))
    replaced = "".join(f"\t{name} => {name} v0.{patch.split('.', 1)[1]}\n" for name in staging)
    packages = [item.package for item in COMPONENTS.values() if item.product == "kubernetes"]
    tools = "".join(f"\t{package}\n" for package in packages)
    return (
        f"module kubernetes\n\ngo 1.26.0\n\nrequire k8s.io/kubernetes v{patch}\n\n"
        f"replace (\n{replaced})\n\ntool (\n{tools})\n"
    )


if __name__ == "__main__":
    print(pin(sys.argv[1], Path(__file__).parent / "modules"))
