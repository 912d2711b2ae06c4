"""What can be wrong with a capture, or with taking one."""

from __future__ import annotations

from claimwright.emulator.errors import EmulatorError


class CaptureError(EmulatorError):
    """A capture is wrong, or says too little: whoever wrote or took it must look; line and reason are given."""


class NothingToRecord(EmulatorError):
    """This machine has no NVML library that answers, so there is nothing to record."""
