"""Captures: a real or emulated machine written down, booted again, and compared.

`record` asks NVML, sysfs and procfs, `read_capture` reads a file (or what `nvidia-smi -q -x` printed), `profile_from`
makes the profile of a node that says the same, `parity` scores two captures leaf by leaf. Captures hold no identifiers.
"""

from claimwright.emulator.captures.capture import Capture, parse_capture
from claimwright.emulator.captures.errors import CaptureError, NothingToRecord
from claimwright.emulator.captures.profile_from import profile_from, profile_text_from
from claimwright.emulator.captures.reading import read_capture, read_report
from claimwright.emulator.captures.recording import record, record_node
from claimwright.emulator.captures.scoring import Difference, Parity, parity
from claimwright.emulator.captures.scrubbing import scrub
from claimwright.emulator.captures.smi_xml import parse_smi_xml

__all__ = [
    "Capture",
    "CaptureError",
    "Difference",
    "NothingToRecord",
    "Parity",
    "parity",
    "parse_capture",
    "parse_smi_xml",
    "profile_from",
    "profile_text_from",
    "read_capture",
    "read_report",
    "record",
    "record_node",
    "scrub",
]
