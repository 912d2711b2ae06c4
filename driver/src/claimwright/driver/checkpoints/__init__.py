"""The community driver's checkpoint file, read once so that a node changes drivers under running pods.

`checksum.py` tells whether the stored bytes are whole, `decoding.py` what they say, `adopting.py` turns that into
claims of ours whose release undoes what the community driver did. Nothing here writes: the file stays for a way back.
"""

from claimwright.driver.checkpoints.adopting import Adopter
from claimwright.driver.checkpoints.checksum import CorruptCheckpoint, checksum, verify
from claimwright.driver.checkpoints.decoding import (
    Checkpoint,
    CheckpointClaim,
    CheckpointDevice,
    read_checkpoint,
)
from claimwright.driver.checkpoints.taking_over import GpuTakeOver

__all__ = [
    "Adopter",
    "Checkpoint",
    "CheckpointClaim",
    "CheckpointDevice",
    "CorruptCheckpoint",
    "GpuTakeOver",
    "checksum",
    "read_checkpoint",
    "verify",
]
