"""The checks: one module per area, one function per requirement, no vendor's name anywhere."""

from __future__ import annotations

from pathlib import Path
from typing import Final

CHECKS_FOLDER: Final = Path(__file__).parent

__all__ = ["CHECKS_FOLDER"]
