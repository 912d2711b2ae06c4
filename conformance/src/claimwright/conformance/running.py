"""Run the suite through pytest, apart from whatever project the user stands in."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import pytest

from claimwright.conformance.checks import CHECKS_FOLDER
from claimwright.conformance.outcomes import USAGE_EXIT_CODE

INTERRUPTED_EXIT_CODE = 130  # 128 + SIGINT, as shells have it


def run_suite(
    declaration: Path,
    pytest_arguments: Sequence[str] = (),
    *,
    kubeconfig: Path | None = None,
    out: Path = Path("conformance-bundle"),
    only: Sequence[str] = (),
    expression: str | None = None,
    strict: bool = False,
    seed: int = 0,
    run_id: str | None = None,
    allure: Path | None = None,
) -> int:
    """Run the checks in this process and return the exit code of the verdict."""
    arguments = [str(CHECKS_FOLDER), *_isolation(), f"--driver={declaration}", f"--bundle={out}"]
    if not _plugin_is_installed():
        arguments += ["-p", "claimwright.conformance.pytest_plugin"]
    arguments += [f"--requirement={identifier.upper()}" for identifier in only]
    arguments += [f"--order-seed={seed}", *(["--strict-should"] if strict else [])]
    arguments += [f"--conformance-kubeconfig={kubeconfig}"] if kubeconfig else []
    arguments += [f"--run-id={run_id}"] if run_id else []
    arguments += ["-k", expression] if expression else []
    arguments += [f"--alluredir={allure}"] if allure else []
    former, cut = _stamp(out), _CutShort()
    code = int(pytest.main([*arguments, *pytest_arguments], plugins=[cut]))
    if cut.short:
        return INTERRUPTED_EXIT_CODE
    # pytest's code for wrong use is the suite's for a partial verdict: only a verdict writes a report.
    return USAGE_EXIT_CODE if code == pytest.ExitCode.USAGE_ERROR and _stamp(out) == former else code


class _CutShort:
    """Remembers that Ctrl-C ended the run: its bundle is partial, and the shell has to hear why."""

    short = False

    def pytest_keyboard_interrupt(self) -> None:
        self.short = True


def _stamp(bundle: Path) -> tuple[int, int] | None:
    """Return what changes when the report of a bundle is written anew; None where there is none."""
    try:
        found = (bundle / "report.json").stat()
    except OSError:
        return None
    return found.st_ino, found.st_mtime_ns


def _isolation() -> list[str]:
    """Return options by which no pytest configuration of the user's project takes part."""
    cache = (
        Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
        / "claimwright"
        / "conformance-pytest"
    )
    return [
        "-c", str(CHECKS_FOLDER / "pytest.ini"), f"--rootdir={CHECKS_FOLDER}", "--import-mode=importlib",
        "-o", f"cache_dir={cache}", "--no-header", "--no-summary", "-q", "-p", "no:asyncio", "-p", "no:timeout",
    ]  # fmt: skip


def _plugin_is_installed() -> bool:
    from importlib.metadata import entry_points  # noqa: PLC0415 - only this question needs it

    return any(one.value == "claimwright.conformance.pytest_plugin" for one in entry_points(group="pytest11"))
