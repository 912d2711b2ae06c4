import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from claimwright.e2e.real import RealWorld
from claimwright.e2e.scenario import Scenario, assert_sees_exactly

FILES = "find /dev -maxdepth 1 -name 'nvidia*' -type c"


def on_node(world: RealWorld, script: str) -> list[str]:
    ended = subprocess.run(
        [*world.node.enter, "sh", "-ec", script], capture_output=True, text=True, timeout=30, check=True
    )
    return ended.stdout.split()


@contextmanager
def nobody_made_device_files(world: RealWorld) -> Iterator[None]:
    """Have none of NVIDIA's in the node's /dev within this context."""
    there = on_node(world, FILES)
    assert {"/dev/nvidia0", "/dev/nvidiactl", "/dev/nvidia-uvm"} <= set(there)
    on_node(world, f"mkdir /dev/made-later && mv {' '.join(there)} /dev/made-later")
    try:
        yield
    finally:
        on_node(world, "mv /dev/made-later/* /dev && rmdir /dev/made-later")


@pytest.mark.substrate("real")
def test_a_pod_gets_its_gpu_on_a_node_where_nobody_made_the_device_files(scenario: Scenario) -> None:
    world = scenario.world
    assert isinstance(world, RealWorld)
    with nobody_made_device_files(world):
        scenario.apply("manifests.yaml")
        pod = scenario.running("pod")

        assert_sees_exactly(scenario.observe(pod, "probe"), scenario.allocated(pod, "gpu"))
        # NVML itself makes those of GPUs when the driver reads the node meanwhile, every half minute.
        assert "/dev/nvidia-uvm" not in on_node(world, FILES), "the driver makes none in the host's /dev"
        scenario.workspace.delete_pod("pod")
