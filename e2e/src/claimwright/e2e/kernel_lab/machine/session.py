"""Boot the lab once for one request, and yield what it tells, until its end or a deadline."""

from __future__ import annotations

import json
import os
import selectors
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

from claimwright.cluster.programs import tail_of_file
from claimwright.e2e.kernel_lab import hardware
from claimwright.e2e.kernel_lab.errors import LabError
from claimwright.e2e.kernel_lab.machine import initramfs
from claimwright.e2e.kernel_lab.machine.parts import Lab

Told = dict[str, Any]  # one JSON line of `inside`, by `kind`
_APPEND = "console=ttyS0 quiet panic=-1 intel_iommu=on iommu=pt"
_INHERITED = ("PATH", "PYTHONPATH", "HOME", "LANG")
_FOLDERS = ("bin", "dev", "host", "layer", "lower", "proc", "sys")


@dataclass(frozen=True, slots=True)
class Request:
    """What to do inside: run a program in a folder of this machine, or the table when `argv` is empty."""

    argv: Sequence[str] = ()
    folder: Path = Path("/")


def boot(lab: Lab, request: Request, *, deadline_seconds: float) -> Iterator[Told]:
    """Start the machine, yield its lines up to and with `end`; it is gone when the iterator is.

    Raises LabError with the end of its console when it dies or is late.
    """
    with tempfile.TemporaryDirectory(prefix="claimwright-lab-") as folder:
        console = Path(folder) / "console"
        initrd = Path(folder) / "initramfs"
        initrd.write_bytes(_initramfs(lab, request))
        with _started(lab, initrd, console) as process:
            for told in _lines(process, time.monotonic() + deadline_seconds):
                ended = told["kind"] == "end"
                yield told
                if ended:
                    return
        raise LabError(
            f"the lab's machine told no end within {deadline_seconds:.0f} s; its console:\n{tail_of_file(console)}"
        )


def _initramfs(lab: Lab, request: Request) -> bytes:
    said = json.dumps({"argv": list(request.argv), "folder": str(request.folder)}).encode()
    parts = {
        "init": initramfs.Member(files(__package__).joinpath("init.sh").read_bytes(), executable=True),
        "bin/busybox": initramfs.Member(lab.busybox.read_bytes(), executable=True),
        "lab/request.json": initramfs.Member(said),
        "lab/environment": initramfs.Member(_environment(os.environ).encode()),
    }
    parts |= {
        f"lib/modules/{module.name}": initramfs.Member(module.read_bytes()) for module in lab.kernel.modules
    }
    return initramfs.compose(parts, _FOLDERS)


def _environment(own: Mapping[str, str]) -> str:
    """Return the environment inside as lines for its shell."""
    inside = {name: own[name] for name in _INHERITED if name in own}
    inside |= {
        "LAB_PYTHON": sys.executable,
        "CLAIMWRIGHT_KERNEL_LAB": "1",
        "PYTHONDONTWRITEBYTECODE": "1",  # it would only fill the memory that ends with the machine
    }
    return "".join(f"export {name}={shlex.quote(value)}\n" for name, value in inside.items())


@contextmanager
def _started(lab: Lab, initrd: Path, console: Path) -> Iterator[subprocess.Popen[bytes]]:
    argv = [
        *_dying_with_us(), str(lab.qemu.program), *lab.qemu.arguments, *hardware.machine(),
        "-fsdev", "local,id=host,path=/,security_model=none,readonly=on,multidevs=remap",
        "-device", "virtio-9p-pci,fsdev=host,mount_tag=host,bus=pcie.0",
        "-kernel", str(lab.kernel.image), "-initrd", str(initrd), "-append", _APPEND,
        "-display", "none", "-monitor", "none", "-nic", "none", "-no-reboot",
        "-serial", f"file:{console}", "-serial", "stdio",
    ]  # fmt: skip
    # What QEMU itself says goes beside the console's words: a refused argument is told there.
    with console.with_name("qemu").open("wb") as said:
        process = subprocess.Popen(
            argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=said, start_new_session=True,
            env={**os.environ, **lab.qemu.environment},
        )  # fmt: skip
    with process:
        try:
            yield process
        finally:
            process.kill()
    if process.returncode > 0:
        raise LabError(
            f"QEMU ended with code {process.returncode}:\n{tail_of_file(console.with_name('qemu'))}"
        )


def _dying_with_us() -> list[str]:
    """Return a prefix that ends the machine with this process, however that ends (prctl(2), PR_SET_PDEATHSIG)."""
    setpriv = shutil.which("setpriv")
    return [setpriv, "--pdeathsig", "KILL", "--"] if setpriv else []


def _lines(process: subprocess.Popen[bytes], deadline: float) -> Iterator[Told]:
    assert process.stdout is not None
    descriptor, unfinished = process.stdout.fileno(), b""
    with selectors.DefaultSelector() as selector:
        selector.register(descriptor, selectors.EVENT_READ)
        while (left := deadline - time.monotonic()) > 0:
            if not selector.select(left):
                return
            if not (part := os.read(descriptor, 1 << 16)):
                return
            *whole, unfinished = (unfinished + part).split(b"\n")
            yield from (json.loads(line) for line in whole)
