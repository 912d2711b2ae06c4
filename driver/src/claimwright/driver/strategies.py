"""The names of sharing strategies and time-slice intervals, as claims and nvidia-smi spell them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

TIME_SLICING: Final = "TimeSlicing"
MPS: Final = "MPS"
# What `nvidia-smi compute-policy --set-timeslice` takes.
INTERVALS: Final[Mapping[str, int]] = {"Default": 0, "Short": 1, "Medium": 2, "Long": 3}
