from __future__ import annotations

import asyncio
import contextlib
import os
import re
import signal
import sys
from pathlib import Path

import yaml

from claimwright.dra.claims import reference_of
from claimwright.dra.kube import NODES, RESOURCE_CLAIMS, RESOURCE_SLICES
from claimwright.dra.kubelet import PluginClient, wait_for_plugin
from claimwright.dra.prepared import PreparedDevice
from claimwright.dra.testing import FakeApi, allocated_claim

README = Path(__file__).parents[1] / "README.md"
DRIVER = "coffee.example.com"


def kubeconfig(folder, url):
    path = folder / "config"
    path.write_text(
        yaml.safe_dump(
            {
                "current-context": "c",
                "contexts": [{"name": "c", "context": {"cluster": "c"}}],
                "clusters": [{"name": "c", "cluster": {"server": url}}],
            }
        )
    )
    return path


async def test_the_driver_in_the_readme_runs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("k")
    program = folder / "coffee.py"
    program.write_text(re.search(r"```python\n(import asyncio.*?)```", README.read_text(), re.DOTALL)[1])
    with FakeApi() as api:
        api.put(NODES, {"metadata": {"name": "node-a"}})
        claim_object = allocated_claim("c", DRIVER, [("cup", "node-a", "machine-0")])
        claim = reference_of(api.put(RESOURCE_CLAIMS, claim_object))
        arguments = [str(program), str(kubeconfig(folder, api.url)), str(folder), "node-a"]
        driver = await asyncio.create_subprocess_exec(sys.executable, *arguments)
        try:
            info = await wait_for_plugin(folder / "plugins_registry", DRIVER, timeout_seconds=60)
            async with PluginClient.of(info) as client:
                outcomes = await client.prepare([claim])
            assert outcomes[claim.uid] == (PreparedDevice(("cup",), "node-a", "machine-0"),)
            async with asyncio.timeout(30):
                while not api.objects(RESOURCE_SLICES):
                    await asyncio.sleep(0.05)
            (item,) = api.objects(RESOURCE_SLICES)
            assert item["spec"]["devices"] == [
                {"name": "machine-0", "attributes": {"beans": {"string": "arabica"}}}
            ]
        finally:
            os.kill(driver.pid, signal.SIGINT)
            try:
                await asyncio.wait_for(driver.wait(), 30)
            finally:
                with contextlib.suppress(ProcessLookupError):
                    driver.kill()
    assert not Path(info.registration_socket).exists()
