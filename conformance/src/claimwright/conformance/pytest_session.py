"""A conformance run inside pytest: collection by id, outcomes, progress, and the bundle at the end."""

from __future__ import annotations

import os
import random
import re
import secrets
import time
from collections.abc import Generator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from claimwright.conformance import fixtures
from claimwright.conformance.checks import CHECKS_FOLDER
from claimwright.conformance.declaration import Declaration, load_declaration
from claimwright.conformance.errors import ConformanceError, Unsupported, UsageError
from claimwright.conformance.evidence.bundle import Run, write_bundle
from claimwright.conformance.judging import judge_phase, requirement_of
from claimwright.conformance.outcomes import EXIT_CODES, Outcome
from claimwright.conformance.registry import load_registry
from claimwright.conformance.results import Result

RESULT = pytest.StashKey[Result]()
_SHARED = "claimwright"
_RUN_ID = re.compile(r"[a-z0-9]([a-z0-9-]{0,18}[a-z0-9])?")


def start_session(config: pytest.Config, declared: Path) -> None:
    """Register the session's plugin; a declaration or option that is wrong ends pytest with one message."""
    try:
        declaration = load_declaration(declared.absolute())
        run = _make_run(config, declaration)
    except ConformanceError as error:
        raise pytest.UsageError(str(error)) from None
    config.stash[fixtures.RUN] = run
    config.pluginmanager.register(fixtures, "claimwright-conformance-fixtures")
    config.pluginmanager.register(Session(config, run), "claimwright-conformance-session")


def _make_run(config: pytest.Config, declaration: Declaration) -> Run:
    shared = getattr(config, "workerinput", {}).get(_SHARED, {})
    kubeconfig = config.getoption("--conformance-kubeconfig") or os.environ.get("KUBECONFIG", "")
    if not kubeconfig or not Path(kubeconfig).is_file():
        raise UsageError(
            f"kubeconfig {kubeconfig!r} is no file: give --kubeconfig or set KUBECONFIG to reach an API server"
        )
    for identifier in config.getoption("--requirement"):
        if identifier not in load_registry():
            raise UsageError(f"{identifier!r} is no requirement id; `claimwright conformance list` shows all")
    named = config.getoption("--run-id")
    if named is not None and not _RUN_ID.fullmatch(named):
        raise UsageError(
            f"--run-id {named!r}: expected 1 to 20 of a-z, 0-9 and inner dashes: objects carry it"
        )
    return Run(
        id=shared.get("id") or named or secrets.token_hex(3),
        declaration=declaration,
        kubeconfig=Path(kubeconfig).absolute(),
        folder=Path(shared.get("folder") or config.getoption("--bundle") or "conformance-bundle").absolute(),
        seed=config.getoption("--order-seed"),
        strict=config.getoption("--strict-should"),
        worker=getattr(config, "workerinput", {}).get("workerid", ""),
        started=shared.get("started") or time.time(),
    )


@dataclass(slots=True)
class Session:
    """The plugin of one run; in the process that collects all results it also writes the bundle."""

    config: pytest.Config
    run: Run
    results: dict[str, Result] = field(default_factory=dict)
    planned: int = 0

    @property
    def controls(self) -> bool:
        """Tell whether this process owns the bundle (false in the workers of xdist)."""
        return not hasattr(self.config, "workerinput")

    @pytest.hookimpl(optionalhook=True)
    def pytest_configure_node(self, node: Any) -> None:  # noqa: ANN401 - xdist's WorkerController
        """Hand run id and folder to a worker."""
        node.workerinput[_SHARED] = {
            "id": self.run.id, "folder": str(self.run.folder), "started": self.run.started,
        }  # fmt: skip
        if self.run.declaration.spec.running is not None:
            raise pytest.UsageError(
                "-n starts one driver per worker; a `running` driver has only one: leave -n out"
            )

    def pytest_sessionstart(self) -> None:
        """Make the bundle's folder; one with other files in it is left alone."""
        if self.controls:
            try:
                self.run.open_folder()
            except UsageError as error:
                raise pytest.UsageError(str(error)) from None

    def pytest_collect_file(self, file_path: Path, parent: pytest.Collector) -> pytest.Module | None:
        """Collect the checks although their files are not named like tests."""
        if (
            file_path.parent == CHECKS_FOLDER
            and file_path.suffix == ".py"
            and file_path.name != "__init__.py"
        ):
            return pytest.Module.from_parent(parent, path=file_path)
        return None

    def pytest_collection_modifyitems(self, config: pytest.Config, items: list[pytest.Item]) -> None:
        """Let -k match ids, drop what --requirement leaves out, and put the rest in the seeded order."""
        wanted = set(config.getoption("--requirement"))
        for item in items:
            item.extra_keyword_matches.add(requirement_of(item).id)
        dropped = [item for item in items if wanted and requirement_of(item).id not in wanted]
        items[:] = [item for item in items if item not in dropped]
        config.hook.pytest_deselected(items=dropped)
        items.sort(key=lambda item: requirement_of(item).id)
        random.Random(self.run.seed).shuffle(items)  # noqa: S311 - order, not secrecy
        items.sort(key=lambda item: requirement_of(item).own_instance)

    def pytest_runtestloop(self, session: pytest.Session) -> None:
        """Remember how many checks there will be, for the progress."""
        self.planned = len(session.items)

    def pytest_runtest_setup(self, item: pytest.Item) -> None:
        """End a check whose feature is not declared before anything is made for it."""
        requirement = requirement_of(item)
        missing = [one for one in requirement.features if not self.run.declaration.supports(one)]
        item.stash[RESULT] = Result.of(requirement, Outcome.PASS)
        item.stash[RESULT].started_s = round(time.time() - self.run.started, 3)
        item.stash[RESULT].worker = self.run.worker
        if missing:
            raise Unsupported(f"the driver does not declare {', '.join(missing)}")

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(
        self, item: pytest.Item, call: pytest.CallInfo[None]
    ) -> Generator[None, pytest.TestReport, pytest.TestReport]:
        """Translate what a phase raised into an outcome, and hand the result to the controlling process."""
        report = yield
        result = item.stash.get(RESULT, None)
        if result is None:
            return report
        judge_phase(result, call, report, item)
        if call.when == "teardown":
            result.observations = item.stash.get(fixtures.OBSERVATIONS, {})
            result.evidence = item.stash.get(fixtures.EVIDENCE, [])
            report.user_properties.append((_SHARED, result.as_object()))
        return report

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Take over a finished result and show it."""
        found = dict(report.user_properties).get(_SHARED)
        if isinstance(found, dict) and report.when == "teardown" and self.controls:
            result = Result.from_object(found)
            self.results[result.id] = result
            self._show(result)

    def pytest_report_teststatus(self, report: pytest.TestReport) -> tuple[str, str, str]:
        """Keep pytest's own letters out of the progress lines; its summary still counts."""
        category = {"passed": "passed", "failed": "failed", "skipped": "skipped"}[report.outcome]
        return category if report.when == "call" or category == "skipped" else "", "", ""

    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        """Write the bundle and turn the verdict into the exit code."""
        interrupted = session.exitstatus in (pytest.ExitCode.USAGE_ERROR, pytest.ExitCode.INTERNAL_ERROR)
        if not self.controls or interrupted or self.config.option.collectonly:
            return
        report = write_bundle(self.run, self.results)
        session.exitstatus = EXIT_CODES[report.verdict]
        self._summarise(report.lines())

    def _show(self, result: Result) -> None:
        terminal = self.config.pluginmanager.get_plugin("terminalreporter")
        if terminal is None or self.config.get_verbosity() < -1:
            return
        colour = {Outcome.PASS: "green", Outcome.FAIL: "red", Outcome.ERROR: "red"}.get(
            result.outcome, "yellow"
        )
        terminal.ensure_newline()
        place = f"[{len(self.results):>3}/{self.planned or len(load_registry())}]"
        terminal.write(f"{place} ")
        terminal.write(f"{result.outcome.value:<14}", **{colour: True})
        terminal.line(f" {result.id:<15} {result.title} ({result.duration_s:.2f} s)")
        if result.outcome != Outcome.PASS:
            for line in self.run.explain(result):
                terminal.line(f"        {line}")

    def _summarise(self, lines: list[str]) -> None:
        terminal = self.config.pluginmanager.get_plugin("terminalreporter")
        if terminal is not None:
            terminal.ensure_newline()
            for line in lines:
                terminal.line(line)
