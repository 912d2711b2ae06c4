"""The profiles of GPUs, which NVML is asked for no more often than needed."""

from __future__ import annotations

from collections import Counter
from types import SimpleNamespace

import pynvml
import pytest

from claimwright.driver.adapters import ProfileBook
from claimwright.driver.adapters.nvml import profiles

ONE, TWO = "GPU-1", "GPU-2"


class Board:
    """NVML with two GPUs of one profile each, that counts what it is asked."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.asked: Counter[str] = Counter()
        self.copies = {ONE: 8, TWO: 8}
        self.trouble: int | None = None
        for name in ("nvmlDeviceGetGpuInstanceProfileInfo", "nvmlDeviceGetGpuInstancePossiblePlacements"):
            monkeypatch.setattr(profiles.pynvml, name, getattr(self, name))
        monkeypatch.setattr(profiles.pynvml, "nvmlDeviceGetUUID", lambda handle: handle)

    def nvmlDeviceGetGpuInstanceProfileInfo(self, handle: str, number: int) -> object:  # noqa: N802
        self.asked[handle] += 1
        if self.trouble is not None:
            raise pynvml.NVMLError(self.trouble)
        if number:
            raise pynvml.NVMLError(pynvml.NVML_ERROR_NOT_SUPPORTED)
        amounts = dict.fromkeys(
            ("multiprocessorCount", "decoderCount", "encoderCount", "jpegCount", "ofaCount"), 1
        )
        return SimpleNamespace(
            id=19,
            name="MIG 1g.10gb",
            sliceCount=1,
            memorySizeMB=9856,
            copyEngineCount=self.copies[handle],
            **amounts,
        )

    def nvmlDeviceGetGpuInstancePossiblePlacements(  # noqa: N802
        self, _handle: str, _profile: int, room: object, count: object
    ) -> None:
        del room, count


def test_what_was_read_once_is_not_asked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    board, book = Board(monkeypatch), ProfileBook()

    first = book.known(ONE)
    asked = board.asked[ONE]

    assert book.known(ONE) is first
    assert [profile.name for profile in first] == ["1g.10gb"]
    assert board.asked[ONE] == asked == 32


def test_a_reading_of_the_node_renews_what_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    board, book = Board(monkeypatch), ProfileBook()
    book.known(ONE)
    board.copies[ONE] = 4

    book.read(ONE)

    assert [profile.copy_engines for profile in book.known(ONE)] == [4]


def test_equal_boards_share_their_profiles_and_others_do_not(monkeypatch: pytest.MonkeyPatch) -> None:
    board, book = Board(monkeypatch), ProfileBook()

    assert book.read(ONE) is book.read(TWO)

    board.copies[TWO] = 4
    assert book.read(TWO) != book.read(ONE)


def test_a_reading_that_fails_is_not_taken_for_a_gpu_without_profiles(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    board, book = Board(monkeypatch), ProfileBook()
    board.trouble = pynvml.NVML_ERROR_UNKNOWN

    with pytest.raises(pynvml.NVMLError):
        book.known(ONE)

    board.trouble = None
    assert book.known(ONE)
