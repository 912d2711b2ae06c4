"""Reads a capture file, of either kind."""

from __future__ import annotations

from pathlib import Path

from claimwright.emulator.captures.capture import Capture, parse_capture, read_text
from claimwright.emulator.captures.scrubbing import scrub
from claimwright.emulator.captures.smi_xml import parse_smi_xml


def read_capture(path: Path) -> Capture:
    """Return a capture, or a report of `nvidia-smi -q -x` as one; CaptureError gives file, line and reason."""
    text = read_text(path)
    is_report = text.lstrip("\ufeff \t\r\n").startswith("<")
    return scrub(parse_smi_xml(text, str(path)) if is_report else parse_capture(text, str(path)))


def read_report(path: Path) -> Capture:
    """Return a report of `nvidia-smi -q -x` as a capture; CaptureError gives file, line and reason."""
    return scrub(parse_smi_xml(read_text(path), str(path)))
