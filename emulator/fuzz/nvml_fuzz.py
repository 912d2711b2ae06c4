"""Call every function of the NVML library with rubbish, against nodes that live, die, are dead, or never were.

    python emulator/fuzz/nvml_fuzz.py [--calls 1000000] [--seed 1] [--sanitizer address|thread|none]

Each round has a node of its own in a process of its own and one caller (nvml_calls.c), both built with
AddressSanitizer and UndefinedBehaviorSanitizer. What turn N calls follows from the seed and N alone. A crash, a byte
before or beyond an argument, a call that hangs, UNKNOWN, a number that is no nvmlReturn_t, and whatever the node's
process complains of, end the run with the call that did it and the command that repeats its round.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import multiprocessing
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from multiprocessing.process import BaseProcess
from pathlib import Path

import nvml_plan

from claimwright.emulator.model import NodeModel, OperationRefused, build_node, load_node_profile
from claimwright.emulator.model.operations import bus, mig, vgpu
from claimwright.emulator.nvml import compiling, compose
from claimwright.emulator.nvml.server import serving

_NODES = ("every-mode", "hgx-h100", "every-mode", "gb200-tray", "dgx-a100", "every-mode", "l4")
_FATES = ("lives", "dies", "lives", "dead", "lives", "never", "lives", "lives", "lives", "lives")
_VERSION = "580.126.20"
_HANG_SECONDS = 60
_SLOW_MS = 5000  # no call may take longer; the machine may be busy
_FLAGS = {
    "none": (),
    "address": (
        "-g",
        "-O1",
        "-fsanitize=address,undefined",
        "-fno-sanitize-recover=all",
        "-fno-omit-frame-pointer",
    ),
    "thread": ("-g", "-O1", "-fsanitize=thread"),
}
_OPTIONS = {
    "ASAN_OPTIONS": "abort_on_error=0:detect_stack_use_after_return=1:allocator_may_return_null=1",
    "UBSAN_OPTIONS": "print_stacktrace=1",
}


@dataclass(frozen=True)
class Round:
    """One node and the turns made on it."""

    number: int
    first: int
    calls: int
    node: str
    fate: str


class Found(Exception):
    """What the fuzzing found, as a report."""


@dataclass(frozen=True)
class Bench:
    """What all rounds share: the compiled caller, the driver root, and where results go."""

    folder: Path
    seed: int
    caller: Path
    library: Path
    socket: Path

    @classmethod
    def build(cls, folder: Path, seed: int, sanitizer: str) -> Bench:
        """Compile caller and library; compiling.CompileFailed where the compiler has no such sanitizer."""
        root = compose(folder / "root", _VERSION)
        (root.path / "dev").mkdir()
        for name in ("nvidiactl", *(f"nvidia{minor}" for minor in range(10))):
            (root.path / "dev" / name).touch()
        library = root.library_dir / f"libnvidia-ml.so.{_VERSION}"
        caller = folder / "nvml_calls"
        compiling.compile_to(compiling.LIBRARY, library, *_FLAGS[sanitizer])
        source = Path(__file__).with_name("nvml_calls.c")
        flags = [flag for flag in _FLAGS[sanitizer] if "no-sanitize" not in flag]
        command = ["gcc", "-O1", *flags, "-o", str(caller), str(source), "-ldl"]
        subprocess.run(command, check=True, timeout=120)
        (folder / "plan").write_text("\n".join(nvml_plan.lines()) + "\n")
        return cls(folder, seed, caller, library, root.socket_path)

    def command(self, first: int, calls: int, *more: str) -> list[str]:
        """Return the caller's command for some turns."""
        plan, progress = self.folder / "plan", self.folder / "progress"
        numbers = (self.seed, first, calls, _SLOW_MS)
        return [*map(str, (self.caller, self.library, plan, progress, *numbers)), *more]

    def describe(self, turn: int) -> str:
        """Say what a turn calls, without calling it."""
        made = subprocess.run(
            self.command(turn, 1, "describe"), capture_output=True, text=True, timeout=60, check=False
        )
        said = [line for line in made.stdout.splitlines() if "(" in line]
        return said[0] if said else made.stderr

    @property
    def turn(self) -> int:
        """The turn under way, or the last one."""
        return int.from_bytes((self.folder / "progress").read_bytes()[:8], "little")


def model_of(name: str) -> NodeModel:
    """Boot a node with MIG devices and vGPUs where its boards can have them."""
    state = build_node(load_node_profile(name), "fuzzed")
    model = NodeModel(replace(state, vgpu_manager=True) if name == "l4" else state)
    for gpu in model.snapshot().gpus[::2]:
        with suppress(OperationRefused):
            model.perform(mig.set_mig_mode, gpu.index, enabled=True)
            for profile in (9, 14, 19):
                made = model.perform(mig.create_gpu_instance, gpu.index, profile)
                model.perform(mig.create_compute_instance, gpu.index, made.id)
    for gpu in model.snapshot().gpus[1::2] or model.snapshot().gpus:
        with suppress(OperationRefused):
            (carrier, *_) = model.perform(bus.set_virtual_functions, str(gpu.pci), 2)
            model.perform(vgpu.create_vgpu, gpu.index, 908, carrier)
            model.perform(vgpu.start_vm, carrier, "c7d9c3a5-0000-4000-8000-000000000001", 4711)
    return model


def _serve(name: str, socket: Path, complaints: Path, ready: Path) -> None:
    """Run one node in this process, for ever; what it complains of goes into a file."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    os.dup2(os.open(complaints, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600), 2)

    async def run() -> None:
        async with serving(socket, model_of(name)):
            asyncio.get_running_loop().call_soon(ready.touch)
            await asyncio.Event().wait()

    asyncio.run(run())


class Node:
    """A node in a process of its own, to be killed at any moment."""

    def __init__(self, bench: Bench, name: str) -> None:
        self.complaints = bench.folder / "complaints"
        self.complaints.write_text("")
        self._bench, self._name = bench, name
        self._process: BaseProcess | None = None

    def start(self) -> None:
        """Boot it, and wait until it serves."""
        ready = self._bench.folder / "ready"
        ready.unlink(missing_ok=True)
        given = (self._name, self._bench.socket, self.complaints, ready)
        # forked, so that no round imports everything anew
        self._process = multiprocessing.get_context("fork").Process(target=_serve, args=given)
        self._process.start()
        _wait_until(ready.exists, 60, f"the node {self._name} to boot")

    def kill(self) -> None:
        """End it as kill -9 does; idempotent."""
        if self._process is not None and self._process.is_alive():
            self._process.kill()
            self._process.join(10)

    @property
    def is_alive(self) -> bool:
        """Whether its process runs."""
        return self._process is not None and self._process.is_alive()


def _wait_until(met: Callable[[], bool], seconds: float, what: str) -> None:
    until = time.monotonic() + seconds
    while not met():
        if time.monotonic() > until:
            raise Found(f"waited {seconds} s for {what}")
        time.sleep(0.01)


@contextmanager
def _caller(bench: Bench, part: Round) -> Iterator[subprocess.Popen[str]]:
    (bench.folder / "progress").write_bytes(part.first.to_bytes(8, "little").ljust(4096, b"\0"))
    environment = {**os.environ, **_OPTIONS, "NVML_FUZZ_WAIT": "1"}
    with (bench.folder / "errors").open("w") as errors, (bench.folder / "said").open("w") as said:
        process = subprocess.Popen(
            bench.command(part.first, part.calls),
            stdin=subprocess.PIPE,
            stdout=said,
            stderr=errors,
            text=True,
            env=environment,
        )
        try:
            yield process
        finally:
            process.kill()
            process.communicate()


def run_round(bench: Bench, part: Round) -> list[str]:
    """Make the turns of one round; return what the caller counted, or raise Found."""
    node = Node(bench, part.node)
    try:
        if part.fate != "never":
            node.start()
        with _caller(bench, part) as process:
            said = bench.folder / "said"
            _wait_until(
                lambda: "ready" in said.read_text() or process.poll() is not None, 60, "the caller to start"
            )
            if part.fate == "dead":
                node.kill()
            assert process.stdin is not None
            process.stdin.write("\n")
            process.stdin.flush()
            _follow(bench, part, process, node)
            if process.returncode:
                raise Found((bench.folder / "errors").read_text()[-6000:])
        if part.fate in {"lives", "dies"} and not node.is_alive:
            raise Found(f"the node's process died: {node.complaints.read_text()[-6000:]}")
    finally:
        node.kill()
    if complained := node.complaints.read_text():
        raise Found(f"the node's process complained:\n{complained[-6000:]}")
    return said.read_text().splitlines()


def _follow(bench: Bench, part: Round, process: subprocess.Popen[str], node: Node) -> None:
    """Wait for the caller's end; a node that is to die dies in the middle and comes back a little later."""
    stages = [(0.5, node.kill), (0.7, node.start)] if part.fate == "dies" else []
    last, since = bench.turn, time.monotonic()
    while process.poll() is None:
        turn = bench.turn
        if stages and turn >= part.first + part.calls * stages[0][0]:
            stages.pop(0)[1]()
        if turn != last:
            last, since = turn, time.monotonic()
        elif time.monotonic() - since > _HANG_SECONDS:
            raise Found(f"a call has not returned for {_HANG_SECONDS} s")
        _show(f"turn {turn}, round {part.number}: {part.node} {part.fate}")
        with suppress(subprocess.TimeoutExpired):
            process.wait(0.05)
    for _, stage in stages:  # a short round was over before
        stage()


def _show(text: str) -> None:
    if sys.stderr.isatty():
        print(f"\r\x1b[K{text}", end="", file=sys.stderr, flush=True)


def rounds(calls: int, length: int, only: int | None) -> Iterator[Round]:
    """Cut the turns into rounds; nodes and fates follow from the round's number."""
    for number in range((calls + length - 1) // length):
        first = number * length
        node, fate = _NODES[number % len(_NODES)], _FATES[number % len(_FATES)]
        if only in {None, number}:
            yield Round(number, first, min(length, calls - first), node, fate)


def main() -> int:
    """Run the rounds; print what was counted as JSON, or what was found."""
    given = _arguments()
    counts: Counter[str] = Counter()
    started = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench.build(Path(folder), given.seed, given.sanitizer)
        done = 0
        for part in rounds(given.calls, given.round_length, given.round):
            try:
                for line in run_round(bench, part):
                    kind, *rest = line.split()
                    if kind in {"result", "succeeded"}:
                        counts[f"{kind} {rest[0]}"] += int(rest[1])
            except Found as found:
                return _report(bench, part, given, found)
            done += part.calls
            print(f"round {part.number}: {part.node} {part.fate}, {done} calls", file=sys.stderr, flush=True)
    results = {key.split()[1]: counts[key] for key in sorted(counts) if key.startswith("result")}
    print(
        json.dumps(
            {
                "calls": done,
                "seed": given.seed,
                "sanitizer": given.sanitizer,
                "seconds": round(time.monotonic() - started, 1),
                "functions": sum(1 for _ in nvml_plan.lines()),
                "functions_that_succeeded": sum(key.startswith("succeeded") for key in counts),
                "results": results,
            },
            indent=2,
        )
    )
    return 0


def _report(bench: Bench, part: Round, given: argparse.Namespace, found: Found) -> int:
    again = (
        f"--seed {given.seed} --calls {given.calls} --round-length {given.round_length} --round {part.number}"
    )
    print(found, file=sys.stderr)
    print(
        f"turn {bench.turn} of node {part.node} ({part.fate}): {bench.describe(bench.turn)}", file=sys.stderr
    )
    print(
        f"again: python {sys.argv[0]} {again} --sanitizer {given.sanitizer}",
        file=sys.stderr,
    )
    return 1


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--calls", type=int, default=1_000_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--round", type=int, default=None, help="this round alone")
    parser.add_argument("--round-length", type=int, default=20_000, help="calls per node")
    parser.add_argument("--sanitizer", choices=sorted(_FLAGS), default="address")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
