"""Run the suite against the correct driver and against every mutant, and keep the score.

A mutant is killed when every requirement that names it fails; other failures are collateral and are listed, since
a vendor with that one defect would see them too.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any, Final

import yaml

from claimwright.conformance.errors import SuiteError, UsageError
from claimwright.conformance.mutants.zoo import find_mutant, load_zoo
from claimwright.conformance.reach import require_api_server
from claimwright.conformance.registry import load_registry

RUN_SECONDS: Final = 300
TABLE_ROWS: Final = 12
GOOD: Final = "good"
_SHORT_BUDGETS: Final = {"start_s": 6, "publish_s": 5, "prepare_s": 10, "stop_s": 8}


@dataclass(frozen=True, slots=True)
class Hunt:
    """One run: which requirements were to fail and which did."""

    mutant: str
    title: str
    expected: tuple[str, ...]
    failed: tuple[str, ...]
    errors: tuple[str, ...]
    seconds: float

    @property
    def killers(self) -> tuple[str, ...]:
        """Return the requirements that name the mutant and failed."""
        return tuple(one for one in self.expected if one in self.failed)

    @property
    def collateral(self) -> tuple[str, ...]:
        """Return the other requirements that failed."""
        return tuple(one for one in self.failed if one not in self.expected)

    @property
    def as_it_should(self) -> bool:
        """Tell whether the mutant was killed by all that name it; the good driver, whether nothing failed."""
        if self.mutant == GOOD:
            return not self.failed and not self.errors
        return bool(self.expected) and self.killers == self.expected


@dataclass(frozen=True, slots=True)
class Score:
    """All hunts of one proof."""

    hunts: Sequence[Hunt]
    seconds: float

    @property
    def perfect(self) -> bool:
        """Tell whether the good driver is clean and every mutant killed."""
        return all(hunt.as_it_should for hunt in self.hunts)

    def lines(self) -> list[str]:
        """Return a table and the closing score."""
        wrong = [hunt for hunt in self.hunts if hunt.mutant != GOOD]
        killed = sum(hunt.as_it_should for hunt in wrong)
        rows = {hunt.mutant.rstrip("abc") for hunt in wrong}
        lost = {hunt.mutant.rstrip("abc") for hunt in wrong if not hunt.as_it_should}
        good = next((hunt for hunt in self.hunts if hunt.mutant == GOOD), None)
        clean = (
            "not run"
            if good is None
            else "clean"
            if good.as_it_should
            else f"failed {', '.join(good.failed)}"
        )
        return [
            *(_line(hunt) for hunt in self.hunts),
            "",
            (
                f"killed {killed}/{len(wrong)} mutants ({len(rows) - len(lost)}/{len(rows)} rows); "
                f"correct driver: {clean}; {self.seconds:.0f} s"
            ),
        ]

    def as_object(self) -> dict[str, Any]:
        """Return the JSON form."""
        wrong = [hunt for hunt in self.hunts if hunt.mutant != GOOD]
        return {
            "killed": sum(hunt.as_it_should for hunt in wrong), "total": len(wrong), "perfect": self.perfect,
            "seconds": round(self.seconds, 1),
            "hunts": [
                {**asdict(hunt), "killers": hunt.killers, "collateral": hunt.collateral, "ok": hunt.as_it_should}
                for hunt in self.hunts
            ],
        }  # fmt: skip


def _line(hunt: Hunt) -> str:
    if hunt.mutant == GOOD:
        return f"{'clean' if hunt.as_it_should else 'FAILED':<9}{hunt.mutant:<6}{hunt.title}"
    missing = [one for one in hunt.expected if one not in hunt.failed]
    told = f"by {', '.join(hunt.killers)}" if hunt.killers else "by nothing"
    survived = f"; NOT by {', '.join(missing)}" if missing else ""
    also = f"; also fail: {', '.join(hunt.collateral)}" if hunt.collateral else ""
    state = "killed" if hunt.as_it_should else "SURVIVED"
    indent = " " * 15
    return f"{state:<9}{hunt.mutant:<6}{hunt.title}\n{indent}{told}{survived}{also}"


def hunt(
    *,
    kubeconfig: Path | None,
    only: Sequence[str] = (),
    table_only: bool = False,
    jobs: int = 2,
    thorough: bool = False,
    out: Path | None = None,
    progress: Callable[[str], None] = lambda _line: None,
) -> Score:
    """Run all hunts, at most two at a time; raises UsageError for an unknown mutant or without kubeconfig."""
    if kubeconfig is None:
        raise UsageError("mutants needs --kubeconfig or KUBECONFIG: an API server, no kubelet")
    chosen = [find_mutant(one).id for one in only] or [
        one for one in load_zoo() if not table_only or int(one.rstrip("abc")) <= TABLE_ROWS
    ]
    require_api_server(kubeconfig)
    started, todo = time.monotonic(), [*([] if only else [GOOD]), *chosen]
    with tempfile.TemporaryDirectory(prefix="cw-mutants-") as scratch, ThreadPoolExecutor(jobs) as pool:
        folder = out or Path(scratch)
        folder.mkdir(parents=True, exist_ok=True)

        def one_hunt(mutant: str) -> Hunt:
            found = _hunt_one(mutant, kubeconfig, folder, thorough=thorough)
            progress(
                f"[{time.monotonic() - started:5.1f} s] {mutant:<5} {'ok' if found.as_it_should else 'NOT OK'}"
            )
            return found

        hunts = list(pool.map(one_hunt, todo))
    return Score(hunts, time.monotonic() - started)


def expected_killers(mutant: str) -> tuple[str, ...]:
    """Return the requirements that name a mutant."""
    return tuple(sorted(one.id for one in load_registry().values() if mutant in one.killers_of))


def _hunt_one(mutant: str, kubeconfig: Path, folder: Path, *, thorough: bool) -> Hunt:
    expected = () if mutant == GOOD else expected_killers(mutant)
    declaration, bundle = folder / f"{mutant}.yaml", folder / mutant
    declaration.write_text(yaml.safe_dump(_declaration(mutant)), encoding="utf-8")
    command = [
        sys.executable, "-m", "claimwright.conformance", "run", str(declaration), f"--out={bundle}",
        f"--kubeconfig={kubeconfig}", *_selection(mutant, expected, thorough=thorough),
    ]  # fmt: skip
    started = time.monotonic()
    try:
        ended = subprocess.run(command, capture_output=True, text=True, timeout=RUN_SECONDS, check=False)
        report = json.loads((bundle / "report.json").read_bytes())
    except (subprocess.TimeoutExpired, OSError, ValueError) as error:
        said = ended.stdout[-600:] + ended.stderr[-600:] if "ended" in locals() else ""
        raise SuiteError(f"the run against mutant {mutant} gave no report: {error}\n{said}") from None
    title = "the correct reference driver" if mutant == GOOD else find_mutant(mutant).title
    failed, errors = (
        tuple(sorted(one["id"] for one in report["results"] if one["outcome"] == outcome))
        for outcome in ("fail", "error")
    )
    return Hunt(mutant, title, expected, failed, errors, round(time.monotonic() - started, 1))


def _declaration(mutant: str) -> dict[str, Any]:
    text = (files("claimwright.conformance") / "declarations" / "reference.yaml").read_text(encoding="utf-8")
    declaration: dict[str, Any] = yaml.safe_load(text)
    if mutant != GOOD:
        declaration["spec"]["start"]["command"].append(f"--mutant={mutant}")
        declaration["spec"]["budgets"] = _SHORT_BUDGETS
    return declaration


def _selection(mutant: str, expected: Sequence[str], *, thorough: bool) -> list[str]:
    """Leave out checks with a driver of their own that do not name the mutant, unless asked for all."""
    if thorough or mutant == GOOD:
        return []
    return [
        f"--only={one.id}" for one in load_registry().values() if not one.own_instance or one.id in expected
    ]
