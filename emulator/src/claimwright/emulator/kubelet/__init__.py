"""The kubelet stand-in: emulated nodes that speak plugin registration and DRA gRPC as a kubelet does.

`StandInKubelet(kube, [StandInNode(name, folder)])` is the surface; `README.md` beside this file says what is
real in it and what is not.
"""

from claimwright.emulator.kubelet.clock import Clock, RealClock
from claimwright.emulator.kubelet.errors import (
    CheckpointCorrupt,
    InjectionFailed,
    KubeletError,
    NoSuchContainer,
)
from claimwright.emulator.kubelet.journal import Happening, Journal
from claimwright.emulator.kubelet.node_objects import StandInNode
from claimwright.emulator.kubelet.sandbox import ProgramNotRun, ProgramResult
from claimwright.emulator.kubelet.standin import StandIn, StandInKubelet
from claimwright.emulator.kubelet.timings import Timings
from claimwright.emulator.kubelet.views import ContainerView

__all__ = [
    "CheckpointCorrupt",
    "Clock",
    "ContainerView",
    "Happening",
    "InjectionFailed",
    "Journal",
    "KubeletError",
    "NoSuchContainer",
    "ProgramNotRun",
    "ProgramResult",
    "RealClock",
    "StandIn",
    "StandInKubelet",
    "StandInNode",
    "Timings",
]
