"""Each scenario runs in two worlds: on a real local node (root) and on the kubelet stand-in."""

from __future__ import annotations

import os
import shutil
import tempfile
import uuid
from collections.abc import Generator, Iterator
from pathlib import Path

import pytest

from claimwright.e2e.real import real_world
from claimwright.e2e.scenario import Scenario
from claimwright.e2e.standin import standin_world
from claimwright.e2e.workspace import Workspace
from claimwright.e2e.world import World

REAL, STAND_IN = "real", "stand-in"
RUNNING_WORLD = "claimwright-world"


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "world" in metafunc.fixturenames:
        marked = metafunc.definition.get_closest_marker("substrate")
        worlds = [marked.args[0]] if marked else [REAL, STAND_IN]
        metafunc.parametrize("world", worlds, indirect=True, scope="session")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.path.is_relative_to(Path(__file__).parent):
            item.add_marker(pytest.mark.e2e)


@pytest.fixture(scope="session")
def short_folder() -> Iterator[Path]:
    """A folder whose path leaves room for unix sockets below it (108 bytes in all)."""
    folder = Path(tempfile.mkdtemp(prefix="cw-"))
    yield folder
    shutil.rmtree(folder)


@pytest.fixture(scope="session")
def world(request: pytest.FixtureRequest, short_folder: Path) -> Generator[World, None, None]:
    if running := request.config.pluginmanager.get_plugin(RUNNING_WORLD):
        if request.param != running.kind:  # type: ignore[attr-defined]
            pytest.skip(f"the demo runs its scenarios in the world of {running.kind} nodes")  # type: ignore[attr-defined]
        yield running.world  # type: ignore[attr-defined]
        return
    name = f"e2e-{request.param}-{uuid.uuid4().hex[:6]}"
    folder = short_folder / request.param
    folder.mkdir()
    if request.param == REAL:
        if os.geteuid() != 0:
            pytest.skip("real nodes need root: namespaces, mounts and cgroups")
        with real_world(folder, name=name) as real:
            yield real
    else:
        with standin_world(folder, name=name) as stand_in:
            yield stand_in


@pytest.fixture
def scenario(request: pytest.FixtureRequest, world: World) -> Generator[Scenario, None, None]:
    workspace = Workspace(world.kubernetes, f"scenario-{uuid.uuid4().hex[:8]}")
    yield Scenario(world, workspace, request.path.parent)
    workspace.close()
