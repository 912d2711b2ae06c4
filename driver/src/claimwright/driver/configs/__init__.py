"""Opaque configs of `resource.nvidia.com/v1beta1`: decoding, checking, and which one applies.

Imported when the first claim with a config comes: pydantic and the models take 7 MB, which an idle node saves.
"""

from claimwright.driver.configs.gpu import GpuConfig
from claimwright.driver.configs.mig import MigDeviceConfig
from claimwright.driver.configs.selection import KINDS, AnyConfig, Offered, config_for, decode, offered_by
from claimwright.driver.configs.vfio import VfioDeviceConfig

__all__ = [
    "KINDS",
    "AnyConfig",
    "GpuConfig",
    "MigDeviceConfig",
    "Offered",
    "VfioDeviceConfig",
    "config_for",
    "decode",
    "offered_by",
]
