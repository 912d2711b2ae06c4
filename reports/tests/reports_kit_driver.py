"""A small DRA driver on the plugin kit, started as a process by the tests of measuring.

Arguments: kubeconfig, driver name, node name, folder (of a kubelet), number of devices. `--refuse` makes
every prepare fail; `--delay MS` makes it slow.
"""

from __future__ import annotations

import argparse
import asyncio
import signal
from collections.abc import Mapping, Sequence
from pathlib import Path

from claimwright.dra.claims import Claim, ClaimReference, ClaimUid
from claimwright.dra.kube import Kube
from claimwright.dra.plugin import Plugin, PluginFolders, PreparedDevice
from claimwright.dra.slices import Device, Pool


class PlainDriver:
    def __init__(self, name: str, *, refuse: bool, delay_seconds: float) -> None:
        self._name = name
        self._refuse = refuse
        self._delay_seconds = delay_seconds

    async def prepare(
        self, claims: Sequence[Claim]
    ) -> Mapping[ClaimUid, Sequence[PreparedDevice] | Exception]:
        await asyncio.sleep(self._delay_seconds)
        if self._refuse:
            return {claim.reference.uid: ValueError("the tray is empty") for claim in claims}
        return {claim.reference.uid: self._devices(claim) for claim in claims}

    async def release(self, claims: Sequence[ClaimReference]) -> Mapping[ClaimUid, Exception | None]:
        return {claim.uid: None for claim in claims}

    def _devices(self, claim: Claim) -> list[PreparedDevice]:
        return [
            PreparedDevice((result.base_request,), result.pool, result.device)
            for result in claim.results
            if result.driver == self._name
        ]


async def serve(given: argparse.Namespace) -> None:
    driver = PlainDriver(given.driver, refuse=given.refuse, delay_seconds=given.delay / 1000)
    folders = PluginFolders.below(given.folder, given.driver, cdi_dir=given.folder / "cdi")
    for folder in (folders.plugin_dir, folders.registry_dir, folders.cdi_dir):
        folder.mkdir(parents=True, exist_ok=True)
    pool = Pool(given.node, tuple(Device(f"dev-{index}") for index in range(given.devices)))
    ended = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, ended.set)
    kube = Kube.from_kubeconfig(given.kubeconfig)
    async with Plugin(given.driver, given.node, driver, kube=kube, folders=folders, publish=pool):
        await ended.wait()


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("kubeconfig", type=Path)
    parser.add_argument("driver")
    parser.add_argument("node")
    parser.add_argument("folder", type=Path)
    parser.add_argument("devices", type=int)
    parser.add_argument("--refuse", action="store_true")
    parser.add_argument("--delay", type=float, default=0)
    asyncio.run(serve(parser.parse_args()))


if __name__ == "__main__":
    main()
