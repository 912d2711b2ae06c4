"""Run the table on the lab's kernel and bring its results out as values."""

from __future__ import annotations

from dataclasses import dataclass

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


def run_on_kernel(lab: Lab, *, deadline_seconds: float) -> KernelRun:
    """Boot, run the whole table, and return everything; LabError with what was said when it did not get through."""
    kernel, results, not_run, said = "", [], [], ""
    code = 0
    for told in boot(lab, Request(), deadline_seconds=deadline_seconds):
        match told["kind"]:
            case "facts":
                kernel = told["kernel"]
            case "result":
                results.append(_result(told))
            case "not-run":
                not_run.append(NotRun(told["subject"], told["case"], tuple(told["missing"])))
            case "output":
                said += told["text"]
            case "end":
                code = told["code"]
    if code:
        raise LabError(f"the table stopped after {len(results)} steps on Linux {kernel}:\n{said}")
    return KernelRun(kernel, tuple(results), tuple(not_run))


def _result(told: Told) -> Result:
    return Result(**{name: value for name, value in told.items() if name != "kind"})
