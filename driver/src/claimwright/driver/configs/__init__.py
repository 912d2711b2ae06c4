"""Opaque configs of `resource.nvidia.com/v1beta1`: decoding, checking, and which one applies."""

from claimwright.driver.configs.gates import FeatureGates
from claimwright.driver.configs.gpu import GpuConfig
from claimwright.driver.configs.mig import MigDeviceConfig
from claimwright.driver.configs.selection import AnyConfig, Offered, config_for, decode, offered_by
from claimwright.driver.configs.vfio import VfioDeviceConfig

__all__ = [
    "AnyConfig",
    "FeatureGates",
    "GpuConfig",
    "MigDeviceConfig",
    "Offered",
    "VfioDeviceConfig",
    "config_for",
    "decode",
    "offered_by",
]
