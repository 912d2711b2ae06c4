"""The project's runner. `./nox -s demo` is the main job, `./nox -s tests` the whole test run.

tox.ini mirrors these sessions by name; both call the same commands.
"""

from __future__ import annotations

import json
import os
import sys
from collections import Counter
from pathlib import Path

import nox

nox.options.default_venv_backend = "uv"
nox.options.reuse_venv = "yes"
nox.options.sessions = ["lint", "types", "unit"]

ROOMS = ("cli", "dra", "driver", "emulator", "conformance", "cluster", "reports", "e2e")
NOT_RUN = Path("out/not-run.jsonl")


def _install(session: nox.Session) -> None:
    """Install the pinned packages, then the rooms themselves as editable, from this checkout only."""
    session.install("-r", "requirements.lock")
    session.install(
        "--no-deps", "--no-build-isolation", *[flag for room in ROOMS for flag in ("-e", f"./{room}")]
    )


def _pytest(session: nox.Session, name: str, *arguments: str, before: tuple[str, ...] = ()) -> None:
    """Run pytest (behind the command `before`) with allure results and a note of every test that could not run."""
    results = f"--alluredir=out/allure-results/{name}"
    environment = {"CLAIMWRIGHT_NOT_RUN": str(NOT_RUN.resolve())}
    session.run(
        *before, "pytest", results, "--clean-alluredir", *arguments, *session.posargs, env=environment
    )


def _forget_not_run() -> None:
    NOT_RUN.parent.mkdir(exist_ok=True)
    NOT_RUN.unlink(missing_ok=True)


def _tell_not_run() -> None:
    """List by name and reason what this machine could not run, after everything else has been said."""
    if not NOT_RUN.exists():
        return
    notes = [json.loads(line) for line in NOT_RUN.read_text().splitlines()]
    print(f"\nNot run on this machine ({len(notes)} tests):", file=sys.stderr)
    for reason, count in Counter(note["reason"] for note in notes).most_common():
        print(f"  {reason} ({count})", file=sys.stderr)
        for note in notes:
            if note["reason"] == reason:
                print(f"    {note['test']}", file=sys.stderr)


def _lint(session: nox.Session) -> None:
    session.run("ruff", "check", ".")
    session.run("ruff", "format", "--check", ".")
    session.run("lint-imports")


def _types(session: nox.Session) -> None:
    session.run("mypy", *[flag for room in ROOMS for flag in ("-p", f"claimwright.{room}")])


def _generate(session: nox.Session) -> None:
    session.run("python", "dra/tools/generate.py", "--check")
    session.run("python", "-m", "claimwright.emulator.nvml.generate", "--check")


def _unit(session: nox.Session) -> None:
    _pytest(session, "unit", "-n", "2", "-m", "not contract and not e2e and not kernel")


def _contract(session: nox.Session) -> None:
    _pytest(
        session, "contract", "-m", "contract", before=("claimwright", "cluster", "run", "--nodes", "0", "--")
    )


def _e2e(session: nox.Session) -> None:
    # Before the tests, and not in the first that needs them: building takes minutes, and a test's time is limited.
    # What cannot be had fails or skips the tests that need it, by name.
    if os.geteuid() == 0:
        session.run("claimwright", "cluster", "build", success_codes=[0, 1])
    session.run("claimwright", "cluster", "build", "--program", "helm", success_codes=[0, 1])
    _pytest(session, "e2e", "-m", "e2e")


def _kernel(session: nox.Session) -> None:
    # Exit code 2 is the lab's refusal: its tests then say by name what is missing.
    session.run("claimwright", "kernel-lab", "prepare", success_codes=[0, 2])
    _pytest(session, "kernel", "-m", "kernel")


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
def generate(session: nox.Session) -> None:
    """Regenerate stubs and NVML tables; fail on a difference to what is committed."""
    _install(session)
    _generate(session)


@nox.session
def unit(session: nox.Session) -> None:
    """Unit and property tests; no cluster, no root."""
    _install(session)
    _unit(session)


@nox.session
def contract(session: nox.Session) -> None:
    """Tests against a real API server, which is started for them."""
    _install(session)
    _contract(session)


@nox.session
def e2e(session: nox.Session) -> None:
    """Scenarios on real local nodes (root) and on the kubelet stand-in."""
    _install(session)
    _e2e(session)


@nox.session
def kernel(session: nox.Session) -> None:
    """The operations table on a real kernel in QEMU and on the emulator; the first run builds that kernel."""
    _install(session)
    _kernel(session)


@nox.session
def tests(session: nox.Session) -> None:
    """Everything that this machine can run: lint, types, generate, unit, contract, e2e, kernel."""
    _install(session)
    _forget_not_run()
    for part in (_lint, _types, _generate, _unit, _contract, _e2e, _kernel):
        part(session)
    _tell_not_run()


@nox.session
def demo(session: nox.Session) -> None:
    """The main job: a cluster, an emulated HGX H100 node, the driver, the verdict, the report."""
    _install(session)
    session.run("claimwright", "demo", *session.posargs)


@nox.session
def bench(session: nox.Session) -> None:
    """Measure against the budgets; printed, and stored under out/bench."""
    _install(session)
    session.run("claimwright", "bench", *session.posargs)


@nox.session
def fuzz(session: nox.Session) -> None:
    """A million calls of rubbish to every function of the NVML library, built with sanitizers (needs gcc, libasan)."""
    _install(session)
    session.run("python", "emulator/fuzz/nvml_fuzz.py", *session.posargs)


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
