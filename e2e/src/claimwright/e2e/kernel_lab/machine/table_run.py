"""Run the table on the lab's kernel and bring its results out as values."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass, field

from claimwright.cluster import Progress, Silent
from claimwright.e2e.kernel_lab.errors import LabError
from claimwright.e2e.kernel_lab.machine.parts import Lab
from claimwright.e2e.kernel_lab.machine.session import Request, Told, boot
from claimwright.e2e.kernel_lab.results import NotRun, Result


@dataclass(frozen=True, slots=True)
class KernelRun:
    """What a real kernel answered, and which kernel."""

    kernel: str
    results: tuple[Result, ...]
    not_run: tuple[NotRun, ...]

    @property
    def failed(self) -> tuple[Result, ...]:
        """The steps that came out otherwise than the table says."""
        return tuple(result for result in self.results if result.wrong)


def run_on_kernel(lab: Lab, *, deadline_seconds: float, progress: Progress | None = None) -> KernelRun:
    """Boot, run the whole table, and return everything; LabError with what was said when it did not get through."""
    heard = _Heard()
    with _Steps(progress or Silent()) as steps:
        steps.now("booting a real kernel in QEMU")
        for told in boot(lab, Request(), deadline_seconds=deadline_seconds):
            if "subject" in told:
                steps.now(f"Linux {heard.kernel}: {told['subject']}")
            heard.take(told)
    if heard.code:
        raise LabError(
            f"the table stopped after {len(heard.results)} steps on Linux {heard.kernel}:\n{heard.said}"
        )
    return KernelRun(heard.kernel, tuple(heard.results), tuple(heard.not_run))


@dataclass
class _Heard:
    """What has come out of the machine so far."""

    kernel: str = ""
    results: list[Result] = field(default_factory=list)
    not_run: list[NotRun] = field(default_factory=list)
    said: str = ""
    code: int = 0

    def take(self, told: Told) -> None:
        match told["kind"]:
            case "facts":
                self.kernel = told["kernel"]
            case "result":
                self.results.append(Result(**{name: value for name, value in told.items() if name != "kind"}))
            case "not-run":
                self.not_run.append(NotRun(told["subject"], told["case"], tuple(told["missing"])))
            case "output":
                self.said += told["text"]
            case "end":
                self.code = told["code"]


class _Steps(ExitStack):
    """Reports one step after the other."""

    def __init__(self, progress: Progress) -> None:
        super().__init__()
        self._progress, self._label = progress, ""

    def now(self, label: str) -> None:
        """End the step that is reported, and begin this one; nothing when it is the same."""
        if label != self._label:
            self.close()
            self.enter_context(self._progress.step(label))
            self._label = label
