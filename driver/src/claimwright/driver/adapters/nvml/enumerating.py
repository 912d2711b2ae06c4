"""Which GPUs NVML has now, in one enumeration.

Numbers are places in a list that gets shorter when a GPU leaves for another driver: after that a number is another GPU,
and one would be read twice and one never. So all handles are taken before anything else is asked, and taken again when
the list changed meanwhile.
"""

from __future__ import annotations

from typing import Any, Final

import pynvml

_ENUMERATIONS: Final = 5


def enumerated() -> list[Any]:
    """Return by number each GPU's handle, or the NVMLError that it has instead; NVMLError when NVML counts none."""
    for _ in range(_ENUMERATIONS):
        found = [_handle(index) for index in range(_count())]
        if len(found) == _count() and not any(map(_is_no_number, found)):
            break
    return found


def _count() -> int:
    return int(pynvml.nvmlDeviceGetCount())


def _handle(index: int) -> Any:  # noqa: ANN401  an opaque C pointer
    try:
        return pynvml.nvmlDeviceGetHandleByIndex(index)
    except pynvml.NVMLError as error:
        return error


def _is_no_number(found: object) -> bool:
    return isinstance(found, pynvml.NVMLError) and found.value == pynvml.NVML_ERROR_INVALID_ARGUMENT
