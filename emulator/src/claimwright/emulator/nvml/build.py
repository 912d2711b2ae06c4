"""Rebuild the compiled parts in place: `python -m claimwright.emulator.nvml.build [--force]`."""

from __future__ import annotations

import sys

from claimwright.emulator.nvml.compiling import main

if __name__ == "__main__":
    sys.exit(main())
