"""One GPU read by many calls of NVML, while others change it."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from claimwright.driver.adapters.nvml import reading
from claimwright.driver.adapters.nvml.profiles import ProfileBook
from claimwright.driver.ports import MigReading, VgpuReading


@pytest.fixture
def mode(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """A GPU whose MIG mode is switched in the middle of its first readings; types of vGPUs follow the mode."""
    now = SimpleNamespace(enabled=False, switches=0)

    def vgpus(_handle: object) -> VgpuReading:
        if now.switches:
            now.enabled, now.switches = not now.enabled, now.switches - 1
        return VgpuReading(on_functions=True, mixed_sizes=now.enabled, types=())

    for name in ("MinorNumber", "Brand", "Architecture"):
        monkeypatch.setattr(reading.pynvml, f"nvmlDeviceGet{name}", lambda _handle: 0)
    for name in ("UUID", "Name"):
        monkeypatch.setattr(reading.pynvml, f"nvmlDeviceGet{name}", lambda _handle: "x")
    monkeypatch.setattr(reading.pynvml, "nvmlDeviceGetCudaComputeCapability", lambda _handle: (9, 0))
    monkeypatch.setattr(reading.pynvml, "nvmlDeviceGetPciInfo", lambda _handle: SimpleNamespace(busId="x"))
    monkeypatch.setattr(reading, "_if_supported", lambda _call: None)
    monkeypatch.setattr(reading, "fabric_of", lambda _handle: None)
    monkeypatch.setattr(
        reading, "mig_of", lambda _handle, _profiles: MigReading(now.enabled, now.enabled, ())
    )
    monkeypatch.setattr(reading, "mig_mode_of", lambda _handle: (now.enabled, now.enabled))
    monkeypatch.setattr(reading, "vgpus_of", vgpus)
    return now


@pytest.mark.parametrize("switches", [0, 1, 2])
def test_a_gpu_is_described_in_one_mig_mode_though_it_changes_meanwhile(
    mode: SimpleNamespace, switches: int
) -> None:
    mode.switches = switches

    found = reading._read_gpu(object(), ProfileBook())

    assert found.mig is not None
    assert found.vgpus is not None
    assert found.mig.enabled == found.vgpus.mixed_sizes == mode.enabled


def test_a_mode_that_never_rests_ends_no_reading_in_an_endless_loop(mode: SimpleNamespace) -> None:
    mode.switches = 1000

    reading._read_gpu(object(), ProfileBook())

    assert 990 < mode.switches < 1000
