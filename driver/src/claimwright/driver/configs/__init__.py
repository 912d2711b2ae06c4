"""Opaque configs: decoding, checking, and which one applies.

Kinds of `resource.nvidia.com/v1beta1` are the community driver's. Imported when the first claim with a config comes:
pydantic and the models take 7 MB, which an idle node saves.
"""

from claimwright.driver.configs.compute_domain import ComputeDomainChannelConfig, ComputeDomainDaemonConfig
from claimwright.driver.configs.decoding import Config
from claimwright.driver.configs.duplicates import keep_duplicates
from claimwright.driver.configs.gpu import GpuConfig
from claimwright.driver.configs.kinds import DRIVERS, KINDS, decode
from claimwright.driver.configs.mig import MigDeviceConfig
from claimwright.driver.configs.selection import Offered, config_for, offered_by
from claimwright.driver.configs.vfio import VfioDeviceConfig
from claimwright.driver.configs.vgpu import VgpuDeviceConfig

__all__ = [
    "DRIVERS",
    "KINDS",
    "ComputeDomainChannelConfig",
    "ComputeDomainDaemonConfig",
    "Config",
    "GpuConfig",
    "MigDeviceConfig",
    "Offered",
    "VfioDeviceConfig",
    "VgpuDeviceConfig",
    "config_for",
    "decode",
    "keep_duplicates",
    "offered_by",
]
