"""Licenses of vGPU software: asked for by a machine that a GPU was passed through to, not by a host."""

from __future__ import annotations

from claimwright.emulator.nvml._generated import records as r
from claimwright.emulator.nvml.answers.call import Call
from claimwright.emulator.nvml.handles import Handle

# nvmlGridLicenseFeatureCode_t and the product that it stands for
_FEATURES = ((2, b"NVIDIA RTX Virtual Workstation"), (4, b"NVIDIA Virtual Compute Server"))
_NO_EXPIRY = 0  # NVML_GRID_LICENSE_EXPIRY_NOT_AVAILABLE


def get_features(call: Call, device: Handle, features: r.nvmlGridLicensableFeatures_t) -> None:
    """Tell what could be licensed and that nothing is (nvmlDeviceGetGridLicensableFeatures_v4)."""
    call.whole_gpu(device)
    guest = call.state.machine.virtualization == "pass_through"
    features.isGridLicenseSupported = int(guest)
    features.licensableFeaturesCount = len(_FEATURES) if guest else 0
    features.gridLicensableFeatures = type(features.gridLicensableFeatures)()
    for record, (code, product) in zip(
        features.gridLicensableFeatures, _FEATURES if guest else (), strict=False
    ):
        record.featureCode, record.productName, record.licenseInfo = code, product, product
        record.licenseExpiry.status = _NO_EXPIRY


ANSWERS = {"nvmlDeviceGetGridLicensableFeatures_v4": get_features}
