"""What checks ask for: a stage over the session's driver, or over a driver of their own."""

from __future__ import annotations

import shutil
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from claimwright.conformance.errors import ConformanceError, NotApplicable, SuiteError, Violation
from claimwright.conformance.evidence.bundle import Run
from claimwright.conformance.evidence.collecting import Collector
from claimwright.conformance.instance import Instance, make_instance
from claimwright.conformance.judging import requirement_of
from claimwright.conformance.ledger import Ledger
from claimwright.conformance.recording import RecordingKube
from claimwright.conformance.stage import Stage
from claimwright.conformance.substrate import delete_node, make_namespace, make_node
from claimwright.conformance.transcript import Transcript
from claimwright.dra.kube import KubeError

RUN = pytest.StashKey[Run]()
OBSERVATIONS = pytest.StashKey[dict[str, Any]]()
EVIDENCE = pytest.StashKey[list[str]]()


@pytest.fixture(scope="session")
def run(request: pytest.FixtureRequest) -> Run:
    """Return the values of this run."""
    return request.config.stash[RUN]


@pytest.fixture(scope="session")
def session_kube(run: Run) -> RecordingKube:
    """Return the door to the API server for what belongs to no single check."""
    kube = connect(run, "session", Transcript())
    try:
        kube.server_version()
    except KubeError as error:
        raise SuiteError(f"the API server of {run.kubeconfig} does not answer: {error}") from None
    return kube


@pytest.fixture(scope="session")
def namespace(run: Run, session_kube: RecordingKube) -> Iterator[str]:
    """Make the namespace of this run (and worker), and delete it at the end."""
    ledger = Ledger()
    try:
        yield make_namespace(session_kube, run, ledger)
    finally:
        ledger.settle()


@pytest.fixture(scope="session")
def session_instance(run: Run, session_kube: RecordingKube) -> Iterator[Instance]:
    """Start the driver that most checks share; a start that fails is a finding of every check, not an error."""
    with instance_on_node(run, session_kube, "shared") as instance:
        start_if_possible(instance)
        yield instance


@pytest.fixture
def stage(
    request: pytest.FixtureRequest, run: Run, namespace: str, session_instance: Instance
) -> Generator[Stage, None, None]:
    """Give a stage over the shared driver."""
    if session_instance.process is not None and not session_instance.process.running():
        session_instance.disconnect()
        start_if_possible(session_instance)
    with open_stage(request, run, namespace, session_instance) as one:
        yield one


@pytest.fixture
def own_stage(
    request: pytest.FixtureRequest, run: Run, namespace: str, session_kube: RecordingKube
) -> Generator[Stage, None, None]:
    """Give a stage over a driver of its own on a node of its own, for checks that stop or kill it."""
    running = run.declaration.spec.running
    if running is not None:
        raise NotApplicable(
            "stops and starts the driver, but spec.running declares one that is not ours to start"
        )
    with instance_on_node(run, session_kube, requirement_of(request.node).id.lower()) as instance:
        instance.start()
        with open_stage(request, run, namespace, instance) as one:
            yield one


@contextmanager
def instance_on_node(run: Run, kube: RecordingKube, purpose: str) -> Iterator[Instance]:
    """Make a node and an instance on it; afterwards no process, slice or folder of it is left."""
    node = f"{run.name}-{purpose}" if run.declaration.spec.start else ""
    instance = make_instance(run.declaration, run.kubeconfig, node, Transcript(), run_id=run.id)
    if node:
        make_node(kube, run, node)
    try:
        yield instance
    finally:
        instance.close()
        if node:
            delete_node(kube, node)
        shutil.rmtree(instance.folders.work, ignore_errors=True)


def start_if_possible(instance: Instance) -> None:
    """Start and register; the violation shows up in each check that needs the registration."""
    try:
        instance.start()
    except Violation as violation:
        instance.failure = violation


@contextmanager
def open_stage(
    request: pytest.FixtureRequest, run: Run, namespace: str, instance: Instance
) -> Iterator[Stage]:
    """Give a stage with its own API door and transcript; free and collect evidence afterwards."""
    identifier = requirement_of(request.node).id
    instance.transcript.clear()
    kube = connect(run, identifier, instance.transcript)
    stage = Stage(instance, kube, namespace, identifier.lower(), run.labels(identifier))
    collector = Collector(run.folder / "evidence" / identifier, stage, run.redaction)
    try:
        yield stage
    finally:
        left = stage.settle()
        leaks = collector.leaks()
        request.node.stash[OBSERVATIONS] = {**stage.observations, **({"leaks": leaks} if leaks else {})}
        request.node.stash[EVIDENCE] = collector.collect(run.folder)
        kube.close()
        if left:
            raise SuiteError("could not be freed: " + "; ".join(left))


def connect(run: Run, identifier: str, transcript: Transcript) -> RecordingKube:
    """Connect to the API server under a User-Agent that names the requirement."""
    agent = f"claimwright-conformance/{run.suite_version} {identifier} {run.id}"
    try:
        return RecordingKube.from_kubeconfig(run.kubeconfig, user_agent=agent).recording_into(transcript)
    except ConformanceError:
        raise
    except Exception as error:
        raise SuiteError(f"kubeconfig {run.kubeconfig}: {error}") from error
