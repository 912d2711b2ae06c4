"""What goes wrong between a kubelet and a plugin, in the kubelet's own words where it has some."""

from __future__ import annotations

from claimwright.dra.errors import DraError


class KubeletError(DraError):
    """A fault that the kubelet would report."""


class RegistrationFailed(KubeletError):
    """The handshake failed; the kubelet would try again from the start."""


class CallFailed(KubeletError):
    """A whole call failed: no answer in time, or a gRPC status other than OK; `code` is its name."""

    def __init__(self, message: str, *, code: str) -> None:
        super().__init__(message)
        self.code = code


class InvalidReply(KubeletError):
    """A reply that the kubelet refuses: claims missing, or claims that nobody asked for."""
