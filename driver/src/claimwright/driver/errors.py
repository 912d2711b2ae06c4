"""The driver's errors: each class says who has to act."""

from __future__ import annotations

from claimwright.dra.errors import DraError


class DriverError(DraError):
    """Anything this driver reports on purpose; the message is complete and meant to be read.

    A DraError, so that the plugin kit answers with the message and logs no traceback.
    """


class NodeUnusable(DriverError):
    """The operator must act: this node, its driver installation or the command line is not as needed."""


class NvmlUnusable(NodeUnusable):
    """NVML as a whole does not work now; `word` is its trouble in one word, such as `not-loaded`."""

    def __init__(self, message: str, word: str = "failing") -> None:
        super().__init__(message)
        self.word = word


class WatchEnded(DriverError):
    """Nobody must act: a watch for events of GPUs ended with its GPU or driver, and another one begins."""


class ClaimRefused(DriverError):
    """The author of the claim must act: the claim cannot be prepared as it is written."""


class DeviceTaken(ClaimRefused):
    """Another claim has the device, which the scheduler took for free: it may be on its way out."""


class TryAgain(DriverError):
    """Nobody must act yet: the kubelet's next attempt may succeed."""


class LockTimeout(TryAgain):
    """Another claim kept a device locked for longer than one call may wait."""


class JournalUnwritable(TryAgain):
    """The journal could not take a record, for instance because the disk is full; nothing was done."""


class PrepareFailed(DriverError):
    """Tells the kubelet what failed, in the words that the community driver's users search for."""


class StepFailed(TryAgain):
    """One step of a prepare or release failed; what had been done before it was undone."""


class NotYet(StepFailed):
    """What a step needs of others is not there yet: what was done before stays, the next prepare goes on with it."""


class GpuGone(StepFailed):
    """A step's GPU is not there or does not answer any more; what it had been set to is gone with it."""


class StepRefused(StepFailed):
    """A step found somebody else's work in its place and did nothing; there is nothing of it to undo."""
