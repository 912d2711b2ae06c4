"""One GPU read by many calls of NVML, while others change it."""

from __future__ import annotations

from types import SimpleNamespace

import pynvml
import pytest

from claimwright.driver.adapters.nvml import enumerating, reading
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


class Bus:
    """GPUs by name, of which the next calls take one away or bring one back."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, gpus: str, changes: dict[int, str]) -> None:
        self.gpus, self._changes, self._calls = gpus, changes, 0
        monkeypatch.setattr(enumerating.pynvml, "nvmlDeviceGetCount", lambda: len(self._now()))
        monkeypatch.setattr(enumerating.pynvml, "nvmlDeviceGetHandleByIndex", self._handle)

    def _now(self) -> str:
        self.gpus = self._changes.get(self._calls, self.gpus)
        self._calls += 1
        return self.gpus

    def _handle(self, index: int) -> str:
        now = self._now()
        if index >= len(now):
            raise pynvml.NVMLError(pynvml.NVML_ERROR_INVALID_ARGUMENT)
        if now[index] == "!":
            raise pynvml.NVMLError(pynvml.NVML_ERROR_GPU_IS_LOST)
        return now[index]


@pytest.mark.parametrize("at", range(1, 6))
@pytest.mark.parametrize(("before", "after"), [("abcd", "acd"), ("acd", "abcd"), ("abcd", "bcd")])
def test_gpus_that_leave_or_come_while_they_are_enumerated_hide_no_other_one(
    monkeypatch: pytest.MonkeyPatch, before: str, after: str, at: int
) -> None:
    bus = Bus(monkeypatch, before, {at: after})

    found = enumerating.enumerated()

    assert "".join(found) == bus.gpus


def test_a_lost_gpu_keeps_its_number(monkeypatch: pytest.MonkeyPatch) -> None:
    Bus(monkeypatch, "a!c", {})

    found = enumerating.enumerated()

    assert (found[0], found[2]) == ("a", "c")
    assert found[1].value == pynvml.NVML_ERROR_GPU_IS_LOST
