"""One run: environment, driver starts, prepares, pods, memory; whatever ends it, nothing is left behind."""

from __future__ import annotations

import asyncio
import secrets
import signal
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from types import FrameType
from typing import Any

from claimwright.reports import environment
from claimwright.reports.errors import OptionError, ReportError, TargetError
from claimwright.reports.measuring import pod_start, prepare, publishing
from claimwright.reports.measuring.claims import make_claims
from claimwright.reports.measuring.driver_process import Usage, started, usage
from claimwright.reports.measuring.manifests import PodTemplate, built_in, read_template
from claimwright.reports.measuring.options import Kubelet, Options
from claimwright.reports.measuring.plugin import open_plugin, registered
from claimwright.reports.measuring.progress import Progress
from claimwright.reports.measuring.recorder import Recorder
from claimwright.reports.measuring.stage import device_class, stage, wait_until
from claimwright.reports.measuring.target import Target, connect, is_ready
from claimwright.reports.samples import SampleWriter

PROCESS_WORKLOAD = "process/v1"
IDLE_SECONDS = 3.0
REGISTERED_SECONDS = 30.0


@dataclass(frozen=True, slots=True)
class RunResult:
    """Where the samples are."""

    run: str
    samples: Path
    written: int


def measure(options: Options, progress: Progress) -> RunResult:
    """Measure; raises ReportError, and KeyboardInterrupt after a signal, in both cases with all removed."""
    run = _run_id()
    target = connect(options.kubeconfig, driver=options.driver.name, node=options.driver.node)
    template = read_template(options.pods.manifest) if options.pods.manifest else None
    _check_driver(options)
    block = environment.capture(
        hardware=options.hardware,
        run=run,
        state_dir=options.journal_dir,
        command=environment.command_line(),
        settings=options.settings(),
        target=target.describe(),
    )
    if options.driver.command:
        block["commands"].append(list(options.driver.command))
    path = options.out / f"{run}.jsonl"
    with _signals(), SampleWriter(path, block) as writer:
        try:
            _Run(options, target, template, run, writer, progress).all()
        except KeyboardInterrupt:
            writer.note("the run was interrupted; what was measured until then is here")
            raise
        except ReportError:
            if not writer.written:
                path.unlink()  # a run that measured nothing has nothing to say in a report
            raise
    return RunResult(run, path, writer.written)


@dataclass(frozen=True, slots=True)
class _Run:
    options: Options
    target: Target
    template: PodTemplate | None
    run: str
    writer: SampleWriter
    progress: Progress

    def all(self) -> None:
        """Go through the workloads, each leaving the node as it found it."""
        if self.options.driver.command:
            self._starts()
        with ExitStack() as stack:
            pid = self._driver(stack)
            self._wait_registered()
            self._idle(pid)
            if self.options.load.cycles:
                self._prepares(pid)
            self._pods()

    def _recorder(self, workload: str) -> Recorder:
        return Recorder(self.writer, self.run, workload)

    def _log(self) -> Path:
        return self.options.out / f"{self.run}.driver.log"

    def _starts(self) -> None:
        publishing.measure_starts(
            self.target,
            self.options.driver.command,
            self._recorder(publishing.WORKLOAD),
            starts=self.options.driver.starts,
            devices=self.options.expect_devices,
            log=self._log(),
            progress=self.progress,
        )

    def _driver(self, stack: ExitStack) -> int | None:
        """Give the pid of the driver: the one that runs, or one that we start for the rest of the run."""
        if not self.options.driver.command:
            return self.options.driver.pid
        driver = stack.enter_context(started(self.options.driver.command, self._log()))

        def published() -> bool:
            driver.check()
            return self.target.pools().complete

        if not wait_until(published, publishing.PUBLISH_SECONDS):
            raise TargetError(
                f"the driver published nothing in {publishing.PUBLISH_SECONDS:.0f} s; see {self._log()}"
            )
        return driver.pid

    def _wait_registered(self) -> None:
        choice = self.options.driver
        if not registered(choice.registry_dir, choice.name):
            self.progress.say(
                f"waiting up to {REGISTERED_SECONDS:.0f} s for {choice.name} to register in {choice.registry_dir}"
            )
        if not wait_until(lambda: registered(choice.registry_dir, choice.name), REGISTERED_SECONDS):
            raise TargetError(
                f"no plugin of driver {choice.name!r} registers in {choice.registry_dir} within "
                f"{REGISTERED_SECONDS:.0f} s; it is the kubelet's plugins_registry folder, as this "
                "machine sees it"
            )

    def _idle(self, pid: int | None) -> None:
        if pid is None:
            self.writer.note(
                "the driver's memory and processor time were not read: no --driver-pid or --driver-command"
            )
            return
        recorder = self._recorder(PROCESS_WORKLOAD)
        before = usage(pid)
        time.sleep(IDLE_SECONDS)
        after = usage(pid)
        at = time.monotonic_ns()
        recorder.value("R-MEM", at, after.rss_bytes / 1e6, parameters={"moment": "idle"})
        per_hour = (after.cpu_seconds - before.cpu_seconds) * 3600 / IDLE_SECONDS
        recorder.value("R-CPU", at, per_hour, parameters={"moment": "idle"})
        recorder.flush()
        self.progress.say(f"driver idle: {after.rss_bytes / 1e6:.1f} MB in {after.processes} processes")

    def _prepares(self, pid: int | None) -> None:
        shape, choice = self.options.load, self.options.driver
        devices = self.target.free_devices()
        with stage(self.target.kube, f"{self.run}-prepare", self.progress) as namespace:
            self.progress.say(f"making {shape.cycles} claims on {len(devices)} devices in {namespace}")
            claims = make_claims(
                self.target.kube,
                namespace,
                f"{self.run}-prepare",
                count=shape.cycles,
                driver=choice.name,
                devices=devices,
                progress=self.progress,
            )

            async def drive() -> int:
                async with open_plugin(choice.registry_dir, choice.name) as calls:
                    recorder = self._recorder(prepare.WORKLOAD)
                    return await prepare.Prepares(calls, claims, recorder, shape, self.progress).run()

            before = usage(pid) if pid else None
            cycles = asyncio.run(drive())
        if pid and before and cycles:
            self._after(before, usage(pid), cycles)

    def _after(self, before: Usage, after: Usage, cycles: int) -> None:
        recorder = self._recorder(PROCESS_WORKLOAD)
        at = time.monotonic_ns()
        recorder.value("R-MEM", at, after.rss_bytes / 1e6, parameters={"moment": "after"})
        per_thousand = (after.cpu_seconds - before.cpu_seconds) * 1000 / cycles
        recorder.value("R-CPU", at, per_thousand, parameters={"moment": "prepare"})
        recorder.flush()
        self.progress.say(f"driver after {cycles} cycles: {after.rss_bytes / 1e6:.1f} MB")

    def _pods(self) -> None:
        shape = self.options.pods
        if not shape.pods:
            return
        node = self.target.node_object()
        if not is_ready(node):
            self.writer.note(
                f"L-START was not measured: node {self.target.node} has no kubelet that says Ready"
            )
            self.progress.say(
                f"pods: left out, node {self.target.node!r} is not Ready (or has no Node object)"
            )
            return
        wave = min(len(self.target.free_devices()), shape.pods)
        run = f"{self.run}-pods"
        kubelet = shape.kubelet or detect_kubelet(node or {})
        with ExitStack() as stack:
            if self.template is None:
                chosen = shape.device_class or stack.enter_context(
                    device_class(self.target.kube, run, self.options.driver.name)
                )
            namespace = stack.enter_context(stage(self.target.kube, run, self.progress))
            template = self.template or built_in(shape, chosen)
            self.progress.say(
                f"starting {shape.pods} pods, {wave} at a time, on {self.target.node} ({kubelet} kubelet)"
            )
            recorder = Recorder(self.writer, self.run, pod_start.WORKLOAD)
            starts = pod_start.Starts(
                self.target, namespace, template, shape, kubelet, run, recorder, self.progress
            )
            starts.run(wave=wave)


def detect_kubelet(node: Mapping[str, Any]) -> Kubelet:
    """Tell a stand-in by the version that it writes into its Node object; all else is a real kubelet."""
    info = (node.get("status") or {}).get("nodeInfo") or {}
    return "stand-in" if "stand-in" in str(info.get("kubeletVersion")) else "real"


def _check_driver(options: Options) -> None:
    choice = options.driver
    if not choice.registry_dir.is_dir():
        raise OptionError(
            f"--registry-dir {choice.registry_dir} is not a folder; it is the kubelet's plugins_registry "
            "(usually /var/lib/kubelet/plugins_registry), as this machine sees it"
        )
    if choice.command and registered(choice.registry_dir, choice.name):
        raise TargetError(
            f"driver {choice.name!r} is registered in {choice.registry_dir} already; to have it "
            "started here, stop "
            "that one first, or leave --driver-command out and measure the running one with --driver-pid"
        )
    if choice.pid is not None:
        usage(choice.pid)


def _run_id() -> str:
    return f"{datetime.now(UTC):%Y%m%d-%H%M%S}-{secrets.token_hex(2)}"


@contextmanager
def _signals() -> Iterator[None]:
    """Let SIGTERM end a run as Ctrl-C does: by an exception, so that everything made is removed."""

    def interrupt(_number: int, _frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
