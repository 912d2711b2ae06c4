"""What can go wrong in the stand-in; the class says who has to act."""

from __future__ import annotations

from claimwright.emulator.errors import EmulatorError


class KubeletError(EmulatorError):
    """Root of everything the stand-in raises on purpose."""


class PodRejected(KubeletError):
    """The pod can never run on this node: it is failed, as kubelet admission does.

    `reason` is the machine-readable word that goes to `status.reason` (OutOfpods, NodeAffinity …).
    """

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


class ClaimNotReady(KubeletError):
    """A claim of the pod may not be used yet; the pod stays Pending and is tried again."""


class PluginMissing(KubeletError):
    """No registered instance of a driver; tried again until the driver registers."""


class PrepareFailed(KubeletError):
    """A driver refused or broke NodePrepareResources; tried again with back-off."""


class ReleaseFailed(KubeletError):
    """A driver refused or broke NodeUnprepareResources; the pod stays Terminating and it is tried again."""


class InjectionFailed(KubeletError):
    """What CDI asks for cannot be put into the container; the container is not created."""


class CheckpointCorrupt(KubeletError):
    """`dra_manager_state` is not what was written; the operator decides whether to remove it."""


class NoSuchContainer(KubeletError):
    """The caller asked for a container that is not running on this stand-in."""
