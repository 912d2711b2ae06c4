"""Run a program inside the lab, and tell what it says as it says it."""

from __future__ import annotations

import codecs
import json
import os
import selectors
import subprocess
from collections.abc import Callable, Sequence

from claimwright.e2e.kernel_lab.world import World

Hear = Callable[[str, str], None]
_DEVICES = "CLAIMWRIGHT_KERNEL_LAB"
_NOT_EXECUTABLE, _NOT_FOUND, _SIGNALLED = 126, 127, 128  # as shells have it


def run_program(argv: Sequence[str], folder: str, world: World, hear: Hear) -> int:
    """Run `argv` to its end and return its code; it finds the world's symbols in its environment."""
    environment = {**os.environ, _DEVICES: json.dumps(dict(world.symbols))}
    try:
        program = subprocess.Popen(
            argv, cwd=folder, env=environment, stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip
    except OSError as error:
        hear("stderr", f"{error.filename}: {error.strerror}\n")
        return _NOT_FOUND if isinstance(error, FileNotFoundError) else _NOT_EXECUTABLE
    with program:
        _listen(program, hear)
    return program.returncode if program.returncode >= 0 else _SIGNALLED - program.returncode


def _listen(program: subprocess.Popen[bytes], hear: Hear) -> None:
    with selectors.DefaultSelector() as selector:
        for name, stream in (("stdout", program.stdout), ("stderr", program.stderr)):
            assert stream is not None
            decoder = codecs.getincrementaldecoder("utf-8")("replace")
            selector.register(stream.fileno(), selectors.EVENT_READ, (name, decoder))
        while selector.get_map():
            for key, _ in selector.select():
                name, decoder = key.data
                part = os.read(key.fd, 1 << 16)
                if text := decoder.decode(part, final=not part):
                    hear(name, text)
                if not part:
                    selector.unregister(key.fd)
