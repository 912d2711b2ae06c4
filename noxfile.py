"""The project's runner. `./nox -s demo` is the main job, `./nox -s tests` the whole test run.

tox.ini mirrors these sessions by name; both call the same commands.
"""

from __future__ import annotations

import os
from pathlib import Path

import nox

nox.options.default_venv_backend = "uv"
nox.options.reuse_venv = "yes"
nox.options.sessions = ["lint", "types", "unit"]

ROOMS = ("cli", "dra", "driver", "emulator", "conformance", "cluster", "reports", "e2e")
SOURCES = [f"{room}/src" for room in ROOMS]
TESTS = [f"{room}/tests" for room in ROOMS]


def _install(session: nox.Session) -> None:
    """Install the pinned packages, then the rooms themselves as editable, from this checkout only."""
    session.install("-r", "requirements.lock")
    session.install("--no-deps", "--no-build-isolation", *[flag for room in ROOMS for flag in ("-e", f"./{room}")])


def _pytest(session: nox.Session, *arguments: str) -> None:
    results = Path("out/allure-results") / session.name
    session.run("pytest", f"--alluredir={results}", "--clean-alluredir", *arguments, *session.posargs)


def _lint(session: nox.Session) -> None:
    session.run("ruff", "check", ".")
    session.run("ruff", "format", "--check", ".")
    session.run("lint-imports")


def _types(session: nox.Session) -> None:
    session.run("mypy")


def _unit(session: nox.Session) -> None:
    _pytest(session, "-n", "2", "-m", "not contract and not e2e", *TESTS)


def _contract(session: nox.Session) -> None:
    _pytest(session, "-m", "contract")


def _e2e(session: nox.Session) -> None:
    _pytest(session, "-m", "e2e")


@nox.session
def lint(session: nox.Session) -> None:
    """Ruff and the import contracts."""
    _install(session)
    _lint(session)


@nox.session
def types(session: nox.Session) -> None:
    """Strict mypy over every room."""
    _install(session)
    _types(session)


@nox.session
def unit(session: nox.Session) -> None:
    """Unit and property tests; no cluster, no root."""
    _install(session)
    _unit(session)


@nox.session
def contract(session: nox.Session) -> None:
    """Tests against a real API server."""
    _install(session)
    _contract(session)


@nox.session
def e2e(session: nox.Session) -> None:
    """Scenarios on real local nodes (root) and on the kubelet stand-in."""
    _install(session)
    _e2e(session)


@nox.session
def tests(session: nox.Session) -> None:
    """Everything that this machine can run: lint, types, unit, contract, e2e."""
    _install(session)
    for part in (_lint, _types, _unit, _contract, _e2e):
        part(session)


@nox.session
def demo(session: nox.Session) -> None:
    """The main job: a cluster, an emulated HGX H100 node, the driver, the verdict, the report."""
    _install(session)
    session.run("claimwright", "demo", *session.posargs)


@nox.session
def dev(session: nox.Session) -> None:
    """Make an environment to work in, at .nox/dev."""
    _install(session)
    session.log("activate it with: . %s/bin/activate", os.path.relpath(session.virtualenv.location))


@nox.session
def lock(session: nox.Session) -> None:
    """Resolve the pins anew into requirements.lock (versions and hashes, no addresses)."""
    session.run("uv", "lock", "--upgrade", external=True)
    session.run(
        "uv", "export", "--all-packages", "--group", "dev", "--no-emit-workspace", "--no-header", "--quiet",
        "--output-file", "requirements.lock", external=True,
    )  # fmt: skip
