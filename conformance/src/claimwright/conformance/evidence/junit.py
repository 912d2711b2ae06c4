"""junit.xml: one test case per id, named by it, so that `junit.xml#DRA-PREP-003` is a link.

Only a pass stands there as passed; whatever is open is `skipped` with its outcome as the message.
"""

from __future__ import annotations

from collections.abc import Sequence
from xml.etree.ElementTree import Element, SubElement, indent, tostring

from claimwright.conformance.outcomes import Outcome
from claimwright.conformance.results import Result


def junit_xml(results: Sequence[Result], run_id: str) -> str:
    """Return the document."""
    failures = sum(result.outcome is Outcome.FAIL for result in results)
    errors = sum(result.outcome is Outcome.ERROR for result in results)
    suite = Element(
        "testsuite", name="claimwright-conformance", id=run_id, tests=str(len(results)), failures=str(failures),
        errors=str(errors), time=f"{sum(result.duration_s for result in results):.3f}",
        skipped=str(sum(result.outcome not in (Outcome.PASS, Outcome.FAIL, Outcome.ERROR) for result in results)),
    )  # fmt: skip
    for result in results:
        _case(suite, result)
    indent(suite)
    return '<?xml version="1.0" encoding="UTF-8"?>\n' + tostring(suite, encoding="unicode") + "\n"


def _case(suite: Element, result: Result) -> None:
    case = SubElement(
        suite, "testcase", name=result.id, classname=result.area, time=f"{result.duration_s:.3f}"
    )
    reason = _printable(result.reason)
    match result.outcome:
        case Outcome.PASS:
            pass
        case Outcome.FAIL:
            SubElement(case, "failure", message=f"{result.level}: {reason}")
        case Outcome.ERROR:
            SubElement(case, "error", message=reason)
        case _:
            SubElement(case, "skipped", message=f"{result.outcome.value}: {reason}")


def _printable(text: str) -> str:
    """Drop what XML 1.0 cannot carry."""
    return "".join(letter for letter in text if letter in "\t\n" or ord(letter) >= 32)
