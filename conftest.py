"""What every room's tests share: capability ids in results, and an honest list of what could not run here."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Generator
from pathlib import Path

import allure
import hypothesis
import pytest

# A time limit per example says how busy the machine is, not whether the code is right.
hypothesis.settings.register_profile("claimwright", deadline=None)
hypothesis.settings.load_profile("claimwright")


NOT_RUN = "CLAIMWRIGHT_NOT_RUN"

# A shell that starts the tests in the background has them ignore Ctrl-C, and every program under test would inherit it.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--no-skips",
        action="store_true",
        default=bool(os.environ.get("CLAIMWRIGHT_NO_SKIPS")),
        help="a test that this machine cannot run fails instead of being skipped (CLAIMWRIGHT_NO_SKIPS=1)",
    )


def pytest_runtest_setup(item: pytest.Item) -> None:
    for marker in item.iter_markers("capability"):
        allure.dynamic.label("capability", marker.args[0])


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.CallInfo[None], None]:
    outcome = yield
    report: pytest.TestReport = outcome.get_result()  # type: ignore[attr-defined]  # pluggy's result object
    if not report.skipped or hasattr(report, "wasxfail"):
        return
    reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
    if item.config.getoption("--no-skips"):
        report.outcome = "failed"
        report.longrepr = f"skipped, and --no-skips is given: {reason}"
        return
    _note_not_run(item.nodeid, reason.removeprefix("Skipped: "))


def _note_not_run(test: str, reason: str) -> None:
    """Append to the file that the runner reads at its end; one write of one line is atomic enough for xdist."""
    if path := os.environ.get(NOT_RUN):
        with Path(path).open("a") as file:
            file.write(json.dumps({"test": test, "reason": reason}) + "\n")
