"""Every error raised on purpose: each message names the value, what was expected, and what to do."""

from __future__ import annotations

import errno
from enum import StrEnum


class EmulatorError(Exception):
    """The root of the room's error tree."""


class ProfileError(EmulatorError):
    """A board or node profile is wrong: its author must change the text."""


class UnknownProfile(ProfileError):
    """No profile of that name exists; the message lists the known ones."""


class Refusal(StrEnum):
    """Why the hardware refuses an operation; the names are those of NVML's return codes (nvml.h)."""

    INVALID_ARGUMENT = "INVALID_ARGUMENT"
    NOT_SUPPORTED = "NOT_SUPPORTED"
    NO_PERMISSION = "NO_PERMISSION"
    NOT_FOUND = "NOT_FOUND"
    INSUFFICIENT_SIZE = "INSUFFICIENT_SIZE"
    DRIVER_NOT_LOADED = "DRIVER_NOT_LOADED"
    TIMEOUT = "TIMEOUT"
    GPU_IS_LOST = "GPU_IS_LOST"
    RESET_REQUIRED = "RESET_REQUIRED"
    IN_USE = "IN_USE"
    MEMORY = "MEMORY"
    NO_DATA = "NO_DATA"
    INSUFFICIENT_RESOURCES = "INSUFFICIENT_RESOURCES"
    NOT_READY = "NOT_READY"
    INVALID_STATE = "INVALID_STATE"
    UNKNOWN = "UNKNOWN"


class OperationRefused(EmulatorError):
    """The hardware refuses this operation in its present state; `reason` is what NVML would answer."""

    def __init__(self, reason: Refusal, message: str) -> None:
        super().__init__(f"{reason}: {message}")
        self.reason = reason
        self.said = message


_NVML_REASONS = {
    errno.EPERM: Refusal.NO_PERMISSION,
    errno.EACCES: Refusal.NO_PERMISSION,
    errno.ENOENT: Refusal.NOT_FOUND,
    errno.ENODEV: Refusal.NOT_FOUND,
    errno.EINVAL: Refusal.INVALID_ARGUMENT,
    errno.ERANGE: Refusal.INVALID_ARGUMENT,
    errno.EBUSY: Refusal.IN_USE,
    errno.EAGAIN: Refusal.IN_USE,
    errno.EEXIST: Refusal.INVALID_STATE,
    errno.ENOTTY: Refusal.NOT_SUPPORTED,
    errno.EUSERS: Refusal.INSUFFICIENT_RESOURCES,
    errno.ENOSPC: Refusal.INSUFFICIENT_RESOURCES,
    errno.EIO: Refusal.GPU_IS_LOST,
}


class KernelRefused(OperationRefused):
    """The kernel refuses an operation; `errno` is what a write to its file, or the system call, fails with."""

    def __init__(self, number: int, message: str) -> None:
        super().__init__(_NVML_REASONS.get(number, Refusal.UNKNOWN), f"{message} ({errno.errorcode[number]})")
        self.errno = number


class NodeError(EmulatorError):
    """A running node cannot be started, found, changed or stopped as asked."""


class NodeGone(NodeError):
    """A running node ended while it was followed."""


class NodeExists(NodeError):
    """A node of that name is up already."""


class NodeNotFound(NodeError):
    """No node of that name is known."""


class BootFailed(NodeError):
    """A node process ended, or was not ready in time."""


class MountRefused(NodeError):
    """A mount namespace cannot take the emulated trees: not root, real hardware in the way, or gone."""


class ScriptFailed(EmulatorError):
    """A fault script did not do all of its steps."""


class ExpectationFailed(ScriptFailed):
    """The node is not in the state that a fault script expected."""
