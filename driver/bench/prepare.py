"""Measure prepare and release as the kubelet's gRPC client sees them, and the driver's memory.

    python driver/bench/prepare.py [--kubeconfig admin.kubeconfig] [--cycles 1000] [--json]

Starts the real `claimwright driver gpu-plugin` on a stub node of eight GPUs, journal on the disk of --folder.
Without a kubeconfig (or CLAIMWRIGHT_TEST_KUBECONFIG) claims come from a memory API server in a process of its own;
with one, from a real API server. Nothing is asserted: figures are printed with their ratio to the budget.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from claimwright.dra.claims import ClaimReference, ClaimUid
from claimwright.dra.errors import DraError
from claimwright.dra.kube import NAMESPACES, NODES, RESOURCE_CLAIMS, RESOURCE_SLICES, Kube
from claimwright.dra.kubelet import PluginClient, wait_for_plugin
from claimwright.dra.testing import FakeApi
from claimwright.driver.testing import StubNode, build_stub_node

NODE = f"bench-{os.getpid()}"
GPUS = 8
DRIVER = "gpu.nvidia.com"


@dataclass(frozen=True)
class Figure:
    """One result beside its budget; `most` tells whether the budget is an upper limit."""

    name: str
    value: float
    budget: float
    unit: str
    most: bool = True

    @property
    def ratio(self) -> float:
        """Below 1 is within the budget."""
        return self.value / self.budget if self.most else self.budget / self.value


def main() -> None:
    """Run the measurement."""
    options = _options()
    if options.serve:
        _serve(options.serve)
        return
    folder = Path(tempfile.mkdtemp(prefix="cwb", dir=options.folder))
    try:
        with _api_server(options.kubeconfig, folder) as kubeconfig:
            figures = _measure(folder, kubeconfig, options.cycles)
    finally:
        shutil.rmtree(folder)
    _report(figures, options)


def _measure(folder: Path, kubeconfig: Path, cycles: int) -> list[Figure]:
    kube = Kube.from_kubeconfig(kubeconfig)
    node = build_stub_node(folder / "n")
    with _objects(kube) as claims:
        started = time.perf_counter()
        with _driver(node, kubeconfig, _tmpfs(folder) / f"{NODE}-cdi") as process:
            ready = asyncio.run(_until_published(kube, process)) - started
            memory = asyncio.run(_idle_memory(process.pid))
            samples = asyncio.run(_calls(node, claims, cycles))
            after = _memory_mb(process.pid)
    return [
        Figure("prepare, one at a time, p50", _quantile(samples.single, 0.5) * 1e3, 2, "ms"),
        Figure("prepare, one at a time, p99", _quantile(samples.single, 0.99) * 1e3, 6, "ms"),
        Figure("prepare, eight at once, p99", _quantile(samples.crowd, 0.99) * 1e3, 20, "ms"),
        Figure("prepare + unprepare cycles", samples.cycles_per_second, 500, "1/s", most=False),
        Figure("memory, idle", memory, 60, "MB"),
        Figure("memory, after all calls", after, 60, "MB"),
        Figure("start to slices visible", ready, 2, "s"),
    ]


@dataclass
class Samples:
    """Seconds of each prepare, alone and in a crowd."""

    single: list[float]
    crowd: list[float]
    cycles_per_second: float


def _tmpfs(otherwise: Path) -> Path:
    """Return a memory file system, which `/var/run` is on every node, or a folder on the disk."""
    memory = Path("/dev/shm")  # noqa: S108
    return memory if os.access(memory, os.W_OK) else otherwise


async def _calls(node: StubNode, claims: list[ClaimReference], cycles: int) -> Samples:
    info = await wait_for_plugin(node.registry_dir, DRIVER, timeout_seconds=10)
    client = PluginClient.of(info)
    try:
        for claim in claims * 5:
            await _cycle(client, claim)
        single = [await _cycle(client, claims[number % GPUS]) for number in range(cycles)]
        crowd = []
        for _ in range(max(cycles // GPUS, 1)):
            crowd += await asyncio.gather(*(_cycle(client, claim) for claim in claims))
        return Samples(single, crowd, await _throughput(client, claims, cycles))
    finally:
        await client.close()


async def _throughput(client: PluginClient, claims: list[ClaimReference], cycles: int) -> float:
    async def repeat(claim: ClaimReference) -> None:
        for _ in range(cycles // GPUS):
            await _cycle(client, claim)

    started = time.perf_counter()
    await asyncio.gather(*(repeat(claim) for claim in claims))
    return (cycles // GPUS) * GPUS / (time.perf_counter() - started)


async def _cycle(client: PluginClient, claim: ClaimReference) -> float:
    started = time.perf_counter()
    prepared = await client.prepare([claim])
    seconds = time.perf_counter() - started
    if isinstance(prepared[claim.uid], str):
        raise SystemExit(f"prepare failed: {prepared[claim.uid]}")
    released = await client.release([claim])
    if released[claim.uid]:
        raise SystemExit(f"unprepare failed: {released[claim.uid]}")
    return seconds


@contextlib.contextmanager
def _objects(kube: Kube) -> Iterator[list[ClaimReference]]:
    """Make a node and eight allocated claims, and remove them afterwards."""
    kube.create(NODES, {"metadata": {"name": NODE}})
    kube.create(NAMESPACES, {"metadata": {"name": NODE}})
    try:
        yield [_claim(kube, number) for number in range(GPUS)]
    finally:
        for item in kube.list(RESOURCE_SLICES, field_selector=f"spec.nodeName={NODE}")["items"]:
            kube.delete(RESOURCE_SLICES, item["metadata"]["name"])
        for number in range(GPUS):
            kube.delete(RESOURCE_CLAIMS, f"claim-{number}", namespace=NODE)
        kube.delete(NAMESPACES, NODE)
        kube.delete(NODES, NODE)


def _claim(kube: Kube, number: int) -> ClaimReference:
    request = {
        "name": "gpu",
        "exactly": {"deviceClassName": DRIVER, "count": 1, "allocationMode": "ExactCount"},
    }
    body: dict[str, Any] = {
        "metadata": {"name": f"claim-{number}", "namespace": NODE},
        "spec": {"devices": {"requests": [request]}},
    }
    created = kube.create(RESOURCE_CLAIMS, body, namespace=NODE)
    result = {"request": "gpu", "driver": DRIVER, "pool": NODE, "device": f"gpu-{number}"}
    created["status"] = {"allocation": {"devices": {"results": [result]}}}
    kube.replace_status(RESOURCE_CLAIMS, created)
    return ClaimReference(NODE, f"claim-{number}", ClaimUid(created["metadata"]["uid"]))


@contextlib.contextmanager
def _driver(node: StubNode, kubeconfig: Path, cdi_root: Path) -> Iterator[subprocess.Popen[bytes]]:
    cdi_root.mkdir()
    program = Path(sys.executable).with_name("claimwright")
    log = (node.folder / "driver.log").open("wb")
    process = subprocess.Popen(
        [program, "driver", "gpu-plugin", "--node-name", NODE, "--kubeconfig", kubeconfig],
        env={**os.environ, **node.environment, "CDI_ROOT": str(cdi_root)},
        stderr=log,
    )
    try:
        yield process
    finally:
        process.terminate()
        process.wait(timeout=30)
        log.close()
        shutil.rmtree(cdi_root)


async def _until_published(kube: Kube, process: subprocess.Popen[bytes]) -> float:
    async with asyncio.timeout(30):
        while process.poll() is None:
            found = await asyncio.to_thread(
                kube.list, RESOURCE_SLICES, field_selector=f"spec.nodeName={NODE}"
            )
            if found["items"]:
                return time.perf_counter()
            await asyncio.sleep(0.01)
    raise SystemExit("the driver ended early; run it by hand to see why")


async def _idle_memory(pid: int) -> float:
    """Read the memory when it has settled: two readings a second apart that agree."""
    last = 0.0
    for _ in range(10):
        await asyncio.sleep(1)
        now = _memory_mb(pid)
        if abs(now - last) < 0.1:
            return now
        last = now
    return last


def _memory_mb(pid: int) -> float:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("VmRSS"))


@contextlib.contextmanager
def _api_server(given: Path | None, folder: Path) -> Iterator[Path]:
    if given is not None:
        yield given
        return
    process = subprocess.Popen([sys.executable, __file__, "--serve", str(folder)], stdin=subprocess.PIPE)
    try:
        yield _wait_for(folder / "kubeconfig")
    finally:
        process.communicate(timeout=10)  # closing its standard input ends it


def _wait_for(kubeconfig: Path) -> Path:
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        with contextlib.suppress(DraError):
            Kube.from_kubeconfig(kubeconfig).list(NODES)
            return kubeconfig
        time.sleep(0.02)
    raise SystemExit("the memory API server did not start within 20 s")


def _serve(folder: Path) -> None:
    with FakeApi() as api:
        api.kubeconfig(folder / "kubeconfig")
        sys.stdin.read()


def _quantile(samples: list[float], share: float) -> float:
    return sorted(samples)[min(int(len(samples) * share), len(samples) - 1)]


def _report(figures: list[Figure], options: argparse.Namespace) -> None:
    server = "real" if options.kubeconfig else "memory"
    if options.json:
        rows = [{**figure.__dict__, "ratio": figure.ratio, "api_server": server} for figure in figures]
        sys.stdout.write(json.dumps(rows, indent=2) + "\n")
        return
    sys.stdout.write(
        f"{platform.machine()}, {os.cpu_count()} CPUs, Python {platform.python_version()}, "
        f"{server} API server, {options.cycles} cycles, stub NVML (emulated)\n"
    )
    for figure in figures:
        limit = "≤" if figure.most else "≥"
        sys.stdout.write(
            f"{figure.name:32} {figure.value:9.2f} {figure.unit:4} "
            f"budget {limit} {figure.budget:g} {figure.unit}  ratio {figure.ratio:.2f}\n"
        )


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    given = os.environ.get("CLAIMWRIGHT_TEST_KUBECONFIG")
    parser.add_argument("--kubeconfig", type=Path, default=Path(given) if given else None)
    parser.add_argument("--cycles", type=int, default=1000)
    parser.add_argument(
        "--folder", type=Path, help="where journal and CDI files go; default: the temporary folder"
    )
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--serve", type=Path, help=argparse.SUPPRESS)
    return parser.parse_args()


if __name__ == "__main__":
    main()
