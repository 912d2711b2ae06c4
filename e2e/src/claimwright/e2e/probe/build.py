"""Compile the probe with the machine's C compiler."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

SOURCE = Path(__file__).with_name("probe.c")


class NoCompiler(Exception):
    """There is no C compiler; the message says what to install."""


def build_probe(folder: Path) -> Path:
    """Compile into `folder` and return the program's path; needs gcc."""
    compiler = shutil.which("gcc") or shutil.which("cc")
    if compiler is None:
        raise NoCompiler("no C compiler on PATH: install gcc (on Debian: apt-get install gcc libc6-dev)")
    program = folder / "probe"
    subprocess.run([compiler, "-O2", "-o", program, SOURCE, "-ldl"], check=True)
    return program
