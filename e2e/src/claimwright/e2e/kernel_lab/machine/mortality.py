"""Programs that end with this process, however that ends: killed with -9 as well (prctl(2), PR_SET_PDEATHSIG)."""

from __future__ import annotations

import shutil
from collections.abc import Sequence

# The shell leads the group that make's jobs are in; its own signal is all that the kernel sends when we die.
_GROUP = 'trap "kill -KILL 0" TERM; "$@" & wait $!'


def mortal(argv: Sequence[str]) -> list[str]:
    """Return the command line of a program that is killed when this process ends."""
    return [*_signalled("KILL"), *argv]


def mortal_group(argv: Sequence[str]) -> list[str]:
    """Return the command line of a program that is killed with all that it started.

    Start it in a session of its own: the whole process group goes.
    """
    prefix = _signalled("TERM")
    return [*prefix, "/bin/sh", "-c", _GROUP, "sh", *argv] if prefix else list(argv)


def _signalled(name: str) -> list[str]:
    setpriv = shutil.which("setpriv")  # of util-linux; where it is not, only what we live to end is ended
    return [setpriv, "--pdeathsig", name, "--"] if setpriv else []
