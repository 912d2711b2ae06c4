"""Plays one emulated node until it is ended. Arguments: kubeconfig, node name, folder."""

from __future__ import annotations

import asyncio
import signal
import sys
from pathlib import Path

from claimwright.dra.kube import Kube
from claimwright.emulator.kubelet import StandInKubelet, StandInNode


async def play(kubeconfig: Path, name: str, folder: Path) -> None:
    ended = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, ended.set)
    async with StandInKubelet(Kube.from_kubeconfig(kubeconfig), [StandInNode(name, folder)]):
        await ended.wait()


if __name__ == "__main__":
    asyncio.run(play(Path(sys.argv[1]), sys.argv[2], Path(sys.argv[3])))
