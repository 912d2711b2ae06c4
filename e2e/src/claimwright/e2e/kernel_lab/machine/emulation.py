"""One QEMU as a process: started, listened to, ended; with no file on disk that somebody would have to remove."""

from __future__ import annotations

import os
import re
import selectors
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from claimwright.cluster.programs import tail
from claimwright.e2e.kernel_lab import hardware
from claimwright.e2e.kernel_lab.machine.mortality import mortal
from claimwright.e2e.kernel_lab.machine.parts import Lab

_APPEND = "console=ttyS0 quiet panic=-1 intel_iommu=on iommu=pt"
_PANIC = re.compile(r"Kernel panic - not syncing: (.*)")
_CONSOLE_LINES = 40  # a panic's trace and registers
_ENDING_SECONDS = 10.0


class Machine:
    """A machine that runs: its channel is a serial port that lines come from, its console is kept for the worst."""

    def __init__(self, process: subprocess.Popen[bytes], console: int, said: int) -> None:
        self._process, self._console, self._said = process, console, said
        self._late = False

    def lines(self, seconds: float) -> Iterator[bytes]:
        """Yield whole lines from the channel until the machine ends or the time is over."""
        assert self._process.stdout is not None
        descriptor, unfinished = self._process.stdout.fileno(), b""
        deadline = time.monotonic() + seconds
        with selectors.DefaultSelector() as selector:
            selector.register(descriptor, selectors.EVENT_READ)
            while selector.select(max(0.0, deadline - time.monotonic())):
                if not (part := os.read(descriptor, 1 << 16)):
                    return
                *whole, unfinished = (unfinished + part).split(b"\n")
                yield from whole
        self._late = True

    def obituary(self) -> str:
        """Tell why there are no more lines, with the end of what the machine or QEMU said."""
        if self._late:
            return f"was late and has been ended; its console:\n{self._console_tail()}"
        code = self._process.wait(_ENDING_SECONDS)
        if code:
            return f"lost its QEMU (code {code}), which said:\n{tail(_content(self._said))}"
        if panic := _PANIC.search(_content(self._console)):
            return f"panicked ({panic[1].strip()}); its console:\n{self._console_tail()}"
        return f"went off too early; its console:\n{self._console_tail()}"

    def _console_tail(self) -> str:
        return tail(_content(self._console), _CONSOLE_LINES) or "(it said nothing)"


@contextmanager
def started(lab: Lab, initramfs: bytes) -> Iterator[Machine]:
    """Start the lab's machine with this initramfs; it is gone afterwards."""
    with ExitStack() as stack:
        initrd, console, said = (_memory_file(stack, name) for name in ("initramfs", "console", "qemu"))
        os.write(initrd, initramfs)
        process = stack.enter_context(
            subprocess.Popen(
                mortal([str(lab.qemu.program), *_arguments(lab, initrd, console)]),
                stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=said,
                pass_fds=(initrd, console), start_new_session=True, env={**os.environ, **lab.qemu.environment},
            )
        )  # fmt: skip
        stack.callback(process.kill)
        yield Machine(process, console, said)


def _arguments(lab: Lab, initrd: int, console: int) -> list[str]:
    return [
        *lab.qemu.arguments, *hardware.machine(),
        "-fsdev", "local,id=host,path=/,security_model=none,readonly=on,multidevs=remap",
        "-device", "virtio-9p-pci,fsdev=host,mount_tag=host,bus=pcie.0",
        "-kernel", str(lab.kernel.image), "-initrd", f"/proc/self/fd/{initrd}", "-append", _APPEND,
        "-display", "none", "-monitor", "none", "-nic", "none", "-no-reboot",
        "-serial", f"file:/proc/self/fd/{console}", "-serial", "stdio",
    ]  # fmt: skip


def _memory_file(stack: ExitStack, name: str) -> int:
    descriptor = os.memfd_create(f"claimwright-lab-{name}")
    stack.callback(os.close, descriptor)
    return descriptor


def _content(descriptor: int) -> str:
    return os.pread(descriptor, os.fstat(descriptor).st_size, 0).decode(errors="replace")
