"""Takes events while the clock runs, and writes them where it does not.

Writing to disk between two calls would be part of the measured machine's load; so events are kept until the
end of a repetition, and written then: a kill loses one repetition at most, and no file is left half-true.
"""

from __future__ import annotations

import gc
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field

from claimwright.reports.metrics import Parameters
from claimwright.reports.samples import OK, Sample, SampleWriter


@dataclass(slots=True)
class Recorder:
    """Events of one workload of one run."""

    writer: SampleWriter
    run: str
    workload: str
    repetition: int = 0
    kept: list[Sample] = field(default_factory=list)

    def event(
        self,
        metric: str,
        start_ns: int,
        end_ns: int,
        *,
        outcome: str = OK,
        parameters: Parameters,
        labels: Mapping[str, str] | None = None,
    ) -> None:
        """Keep an event with a duration."""
        self.kept.append(
            Sample(
                metric,
                self.workload,
                self.run,
                self.repetition,
                start_ns,
                duration_ns=end_ns - start_ns,
                outcome=outcome,
                parameters=parameters,
                labels=labels or {},
            )
        )

    def value(self, metric: str, at_ns: int, value: float, *, parameters: Parameters) -> None:
        """Keep an amount."""
        self.kept.append(
            Sample(
                metric, self.workload, self.run, self.repetition, at_ns, value=value, parameters=parameters
            )
        )

    @contextmanager
    def repetition_of(self, number: int) -> Iterator[None]:
        """Run one repetition without pauses of our own garbage collector; write its events after it."""
        self.repetition = number
        gc.collect()
        gc.disable()
        try:
            yield
        finally:
            gc.enable()
            self.flush()

    def flush(self) -> None:
        """Write what is kept."""
        for sample in self.kept:
            self.writer.write(sample)
        self.kept.clear()

    def discard(self) -> None:
        """Forget what is kept: a warm-up."""
        self.kept.clear()
