"""What a driver knows at its start of GPUs that NVML does not describe."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from claimwright.dra.testing import FakeApi
from claimwright.driver.inventory import Inventory, discover
from claimwright.driver.known_gpus import KnownGpus
from claimwright.driver.ports import MigReading, UnreadableGpu
from claimwright.driver.testing import MemoryNvml, gpu_reading, h100_profiles, hgx_h100_host
from claimwright.driver.testing.memory_node import MemoryNode

AWAY = "0000:1b:00.0"


@pytest.fixture
def whole() -> Inventory:
    mig = MigReading(False, False, h100_profiles())
    return discover(MemoryNvml([gpu_reading(0, mig=mig), gpu_reading(1, mig=mig)]), hgx_h100_host())


def without_first(inventory: Inventory) -> Inventory:
    return replace(inventory, gpus=inventory.gpus[1:])


def test_a_gpu_that_a_claim_gave_away_is_known_to_the_next_process(tmp_path: Path, whole: Inventory) -> None:
    KnownGpus(tmp_path / "gpus.json", "boot").save(whole.gpus)

    completed = KnownGpus(tmp_path / "gpus.json", "boot").complete(without_first(whole), {AWAY})

    assert completed == whole


def test_a_gpu_that_nvml_counts_and_does_not_describe_is_known(tmp_path: Path, whole: Inventory) -> None:
    KnownGpus(tmp_path / "gpus.json", "boot").save(whole.gpus)
    silent = replace(without_first(whole), unreadable=(UnreadableGpu(0, "GPU is lost", lost=True),))

    completed = KnownGpus(tmp_path / "gpus.json", "boot").complete(silent, ())

    assert completed.gpus == whole.gpus


def test_a_reading_that_lacks_nothing_is_left_alone(tmp_path: Path, whole: Inventory) -> None:
    KnownGpus(tmp_path / "gpus.json", "boot").save(whole.gpus)

    reading = without_first(whole)

    assert KnownGpus(tmp_path / "gpus.json", "boot").complete(reading, ()) is reading


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        "null",
        '{"version": 2, "boot": "boot", "gpus": []}',
        '{"version": 1, "boot": "boot", "gpus": 7}',
        '{"version": 1, "boot": "boot", "gpus": [{"minor": "x"}]}',
        '{"version": 1, "boot": "boot"}',
        "\x00\xff",
    ],
)
def test_rubbish_counts_as_nothing_known(tmp_path: Path, whole: Inventory, text: str) -> None:
    (tmp_path / "gpus.json").write_text(text)

    completed = KnownGpus(tmp_path / "gpus.json", "boot").complete(without_first(whole), {AWAY})

    assert completed == without_first(whole)


def test_what_another_boot_knew_counts_for_nothing(tmp_path: Path, whole: Inventory) -> None:
    KnownGpus(tmp_path / "gpus.json", "before").save(whole.gpus)

    completed = KnownGpus(tmp_path / "gpus.json", "boot").complete(without_first(whole), {AWAY})

    assert completed == without_first(whole)


def test_what_is_true_of_a_moment_only_is_neither_kept_nor_a_reason_to_write(
    tmp_path: Path, whole: Inventory
) -> None:
    path = tmp_path / "gpus.json"
    known = KnownGpus(path, "boot")
    known.save(whole.gpus)
    written = path.stat().st_mtime_ns
    path.unlink()

    ailing = [replace(gpu, lost=True, unreadable="GPU is lost") for gpu in whole.gpus]
    cut = [replace(gpu, mig=gpu.mig and replace(gpu.mig, enabled=True)) for gpu in whole.gpus]
    known.save(ailing)
    known.save(cut)

    assert written
    assert not path.exists()


def test_a_folder_that_cannot_be_written_stops_nothing(
    tmp_path: Path, whole: Inventory, caplog: pytest.LogCaptureFixture
) -> None:
    KnownGpus(tmp_path / "missing" / "gpus.json", "boot").save(whole.gpus)

    assert "gpus.json cannot be written" in caplog.text


def test_a_gpu_that_is_cut_still_has_the_vgpus_that_it_had_before(tmp_path: Path) -> None:
    with FakeApi() as api:
        node = MemoryNode(tmp_path, api)
    hosting = discover(node.doors.nvml, node.doors.host, is_own_vgpu=lambda _: True)
    KnownGpus(tmp_path / "gpus.json", "boot").save(hosting.gpus)
    cut = MigReading(True, True, h100_profiles())
    now = replace(hosting, gpus=tuple(replace(gpu, mig=cut, vgpus=None) for gpu in hosting.gpus))

    completed = KnownGpus(tmp_path / "gpus.json", "boot").complete(now, ())

    assert [gpu.vgpus for gpu in completed.gpus] == [gpu.vgpus for gpu in hosting.gpus]
    assert any(gpu.vgpus is not None for gpu in completed.gpus)
    assert all(gpu.mig == cut for gpu in completed.gpus)
