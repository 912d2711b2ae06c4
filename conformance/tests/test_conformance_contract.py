"""The suite against its reference driver and the mutants, on a real API server."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
import uuid
from importlib.resources import files
from pathlib import Path

import pytest

from claimwright.conformance.evidence import verify_bundle
from claimwright.conformance.mutants.hunting import GOOD, Score, hunt
from claimwright.conformance.mutants.zoo import load_zoo
from claimwright.dra.kube import NODES, Kube

pytestmark = [pytest.mark.contract, pytest.mark.timeout(900)]
DECLARATION = (files("claimwright.conformance") / "declarations" / "reference.yaml").read_text(
    encoding="utf-8"
)


@pytest.fixture(scope="module")
def kubeconfig(tmp_path_factory):
    given = os.environ.get("CLAIMWRIGHT_TEST_KUBECONFIG")
    if given:
        yield Path(given)
        return
    name = f"conf-{uuid.uuid4().hex[:6]}"
    state = tmp_path_factory.mktemp("state")
    environment = {**os.environ, "XDG_STATE_HOME": str(state)}
    command = [sys.executable, "-m", "claimwright.cli.main", "cluster"]
    up = [*command, "up", "--nodes", "0", "--name", name]
    try:
        subprocess.run(up, check=True, timeout=600, env=environment, capture_output=True)
        yield state / "claimwright" / "clusters" / name / "kubeconfig"
    finally:
        subprocess.run(
            [*command, "down", name], timeout=120, env=environment, capture_output=True, check=False
        )


def _run(folder: Path, kubeconfig: Path, *arguments: str, declaration: str = DECLARATION):
    (folder / "driver.yaml").write_text(declaration, encoding="utf-8")
    command = [sys.executable, "-m", "claimwright.conformance", "run", "driver.yaml", "--out", "bundle"]
    return subprocess.run(
        [*command, "--kubeconfig", str(kubeconfig), *arguments],
        cwd=folder, capture_output=True, text=True, timeout=280, check=False,
    )  # fmt: skip


def _report(folder: Path):
    return json.loads((folder / "bundle" / "report.json").read_bytes())


@pytest.mark.capability("002-01")
@pytest.mark.capability("000-10")
@pytest.mark.capability("002-01")
def test_the_correct_driver_passes_everything_and_its_bundle_is_sound(tmp_path, kubeconfig):
    ended = _run(tmp_path, kubeconfig)
    assert ended.returncode == 0, ended.stdout[-3000:] + ended.stderr[-2000:]
    report = _report(tmp_path)
    assert {one["outcome"] for one in report["results"]} == {"pass"}
    assert report["verdict"] == "success"
    assert report["leaks"] == []
    assert verify_bundle(tmp_path / "bundle") == []
    run = report["run"]["id"]
    kube = Kube.from_kubeconfig(kubeconfig)
    assert kube.list(NODES, label_selector=f"claimwright.dev/run={run}")["items"] == []


@pytest.fixture(scope="module")
def score(kubeconfig) -> Score:
    return hunt(kubeconfig=kubeconfig)


@pytest.mark.capability("000-10")
@pytest.mark.parametrize("mutant", [GOOD, *load_zoo()])
def test_every_mutant_is_killed_by_all_that_name_it(score, mutant):
    found = next(one for one in score.hunts if one.mutant == mutant)
    assert found.as_it_should, found
    assert not found.errors, "a defect of a driver must never look like a defect of the suite"


def test_two_workers_give_the_same_verdict(tmp_path, kubeconfig):
    ended = _run(tmp_path, kubeconfig, "-n", "2")
    assert ended.returncode == 0, ended.stdout[-3000:]
    assert {one["worker"] for one in _report(tmp_path)["results"]} == {"gw0", "gw1"}


def test_undeclared_features_are_unsupported_and_a_selection_is_partial(tmp_path, kubeconfig):
    changed = re.sub(r"supported: \[.*\]", "supported: []", DECLARATION)
    arguments = ("--only", "DRA-HEALTH-001", "--only", "DRA-REG-001")
    ended = _run(tmp_path, kubeconfig, *arguments, declaration=changed)
    assert ended.returncode == 4
    outcomes = {one["id"]: one["outcome"] for one in _report(tmp_path)["results"]}
    assert outcomes["DRA-HEALTH-001"] == "unsupported"
    assert outcomes["DRA-REG-001"] == "pass"
    assert outcomes["DRA-REG-002"] == "skipped"


def test_a_failing_id_tells_how_to_go_on(tmp_path, kubeconfig):
    changed = DECLARATION.replace("- --cdi={cdi}", "- --cdi={cdi}\n      - --mutant=7")
    ended = _run(tmp_path, kubeconfig, "--only", "DRA-PREP-007", declaration=changed)
    assert ended.returncode == 1
    for part in (
        "expected ",
        "seen ",
        "another-pool",
        "spec ",
        "evidence/DRA-PREP-007",
        "--only DRA-PREP-007",
    ):
        assert part in ended.stdout, part


def test_a_driver_that_dies_at_once_fails_quickly_with_its_last_words(tmp_path, kubeconfig):
    command = '["{python}", -c, "print(\'no GPU here\'); raise SystemExit(7)"]'
    changed = re.sub(r"command:\n(      - .*\n)+", f"command: {command}\n", DECLARATION)
    started = time.monotonic()
    ended = _run(tmp_path, kubeconfig, "-k", "DRA-REG-001 or DRA-PREP-001", declaration=changed)
    assert ended.returncode == 1, ended.stdout
    assert "no GPU here" in ended.stdout
    assert "code 7" in ended.stdout
    assert time.monotonic() - started < 60


def test_an_unreachable_api_server_is_no_failure_of_the_driver(tmp_path, kubeconfig):
    unreachable = tmp_path / "kubeconfig"
    unreachable.write_text(re.sub(r"server: .*", "server: https://127.0.0.1:9", Path(kubeconfig).read_text()))
    ended = _run(tmp_path, unreachable, "--only", "DRA-REG-001")
    assert ended.returncode == 3, ended.stdout[-2000:] + ended.stderr[-2000:]


def test_cleanup_after_a_kill_leaves_nothing(tmp_path, kubeconfig):
    (tmp_path / "driver.yaml").write_text(DECLARATION, encoding="utf-8")
    run = f"kill-{uuid.uuid4().hex[:6]}"
    suite = [sys.executable, "-m", "claimwright.conformance"]
    command = [
        *suite,
        "run",
        "driver.yaml",
        "--out",
        "bundle",
        "--kubeconfig",
        str(kubeconfig),
        "--run-id",
        run,
    ]
    kube = Kube.from_kubeconfig(kubeconfig)
    with subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if "DRA-" in line:
                break
        process.send_signal(signal.SIGKILL)
    assert kube.list(NODES, label_selector=f"claimwright.dev/run={run}")["items"]
    cleanup = [*suite, "cleanup", "--run", run, "--kubeconfig", str(kubeconfig)]
    first = subprocess.run(cleanup, capture_output=True, text=True, timeout=60, check=True)
    assert "removed process" in first.stdout
    assert kube.list(NODES, label_selector=f"claimwright.dev/run={run}")["items"] == []
    again = subprocess.run(cleanup, capture_output=True, text=True, timeout=60, check=True)
    assert "removed process" not in again.stdout
