"""The suite's door for pytest: options, and the session when a declaration is given.

`pytest --pyargs claimwright.conformance.checks --driver driver.yaml` is the suite; without `--driver` this module
adds options and nothing else, so that other test runs in the same environment never notice it.
"""

from __future__ import annotations

from pathlib import Path

import pytest

OPTIONS = {
    "--driver": "declaration of the driver under test (driver.yaml)",
    "--conformance-kubeconfig": "kubeconfig of the API server (default: $KUBECONFIG)",
    "--bundle": "folder for the evidence bundle (default: conformance-bundle)",
    "--run-id": "name of this run in objects and reports (default: random)",
}


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the suite's options."""
    group = parser.getgroup("conformance", "conformance of Kubernetes DRA drivers")
    for name, text in OPTIONS.items():
        group.addoption(name, default=None, help=text)
    group.addoption("--requirement", action="append", default=[], help="run only this id (may be repeated)")
    group.addoption("--order-seed", type=int, default=0, help="seed of the order of the checks")
    group.addoption("--strict-should", action="store_true", help="a failed SHOULD fails the run")


def pytest_configure(config: pytest.Config) -> None:
    """Start a conformance session when a driver is named."""
    config.addinivalue_line("markers", "requirement(id): the conformance requirement that a check judges")
    declared = config.getoption("--driver")
    if declared:
        from claimwright.conformance.pytest_session import start_session  # noqa: PLC0415 - only for suite runs

        start_session(config, Path(declared))
