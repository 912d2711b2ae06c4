"""`claimwright kernel-lab`: bring the lab, run the table in it, run anything in it."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

import click

from claimwright.cluster import for_stream
from claimwright.cluster.interruption import TERMINATED_STATUS, Terminated, terminable
from claimwright.e2e.kernel_lab.errors import LabError
from claimwright.e2e.kernel_lab.machine import (
    KernelRun,
    find_lab,
    lab_folder,
    prepare_lab,
    run_on_kernel,
    run_program,
)

_REFUSED = 2
_TABLE_SECONDS = 300.0


@click.group("kernel-lab", context_settings={"help_option_names": ["-h", "--help"]})
def kernel_lab() -> None:
    """A real kernel in QEMU, with an IOMMU and devices to bind: what the emulator's files are compared with."""


@kernel_lab.command()
def prepare() -> None:
    """Bring what the lab needs, once: QEMU and busybox where the system has none, and a kernel built for it.

    Packages of the distribution are unpacked into the cache and never installed. The kernel takes five to six
    minutes on two idle cores.
    """
    with _reported():
        lab = prepare_lab(for_stream(sys.stderr))
    click.echo(f"the kernel lab is ready: Linux {lab.kernel.release}, in {lab_folder()}")


@kernel_lab.command()
@click.option("--all", "every", is_flag=True, help="Print what passes as well.")
def table(*, every: bool) -> None:
    """Run the operations table on the lab's kernel; the exit code is 1 when a step comes out otherwise."""
    with _reported():
        run = run_on_kernel(find_lab(), deadline_seconds=_TABLE_SECONDS, progress=for_stream(sys.stderr))
    for result in run.results:
        if every or result.wrong:
            click.echo(result)
    click.echo(_summary(run))
    sys.exit(1 if run.failed else 0)


@kernel_lab.command(context_settings={"ignore_unknown_options": True})
@click.argument("argv", nargs=-1, required=True, type=click.UNPROCESSED)
@click.option(
    "--timeout", "seconds", type=float, default=600.0, show_default=True, help="Seconds until it is ended."
)
def run(argv: tuple[str, ...], seconds: float) -> None:
    """Run a program of this machine inside, in this folder: `kernel-lab run -- pytest driver/tests/test_x.py`.

    It sees this machine's files (what it writes stays inside), this Python, the lab's devices and its kernel, as root;
    CLAIMWRIGHT_KERNEL_LAB names the devices, as JSON. The exit code is the program's, or 2 when the lab refuses.
    """
    with _reported():
        ended = run_program(find_lab(), argv, deadline_seconds=seconds, heard=_echo)
    sys.exit(ended.code)


def _echo(stream: str, text: str) -> None:
    click.echo(text, nl=False, err=stream == "stderr")


@contextmanager
def _reported() -> Iterator[None]:
    """Turn what the lab refuses into one message and exit code 2; a SIGTERM cleans up as Ctrl-C does."""
    try:
        with terminable():
            yield
    except LabError as error:
        click.echo(f"error: {error}", err=True)
        sys.exit(_REFUSED)
    except Terminated:
        click.echo("terminated; nothing is left behind", err=True)
        sys.exit(TERMINATED_STATUS)


def _summary(run: KernelRun) -> str:
    cases = len({(result.subject, result.case) for result in run.results})
    told = f"{cases} cases, {len(run.results)} steps, {len(run.failed)} otherwise than the table says"
    return f"Linux {run.kernel}: {told}"
