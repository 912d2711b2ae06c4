"""What a node sees of the machine: the host's files, with the standard folders of a node as its own."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from claimwright.cluster.local import steps
from claimwright.cluster.local.steps import Step

# Device nodes that programs expect; the rest of the host's /dev is not the node's. `kmsg`: the kubelet's OOM
# watcher refuses to start without it.
_DEVICES = ("null", "zero", "full", "random", "urandom", "tty", "kmsg", "fuse", "net/tun", "kvm", "vfio/vfio")
_DEVICE_LINKS = {
    "fd": "/proc/self/fd", "stdin": "/proc/self/fd/0", "stdout": "/proc/self/fd/1", "stderr": "/proc/self/fd/2",
    "ptmx": "pts/ptmx",
}  # fmt: skip
# The kubelet sets these for the whole machine when it starts (container_manager_linux.go, setupKernelTunables);
# nodes get files to write into instead, and the host keeps its values.
_KERNEL_TUNABLES = {
    "vm/overcommit_memory": "1", "vm/panic_on_oom": "0", "kernel/panic": "10", "kernel/panic_on_oops": "1",
    "kernel/keys/root_maxkeys": "1000000", "kernel/keys/root_maxbytes": "25000000",
}  # fmt: skip


@dataclass(frozen=True)
class NodeFolders:
    """A node's folders on the host. `short` is an alias of `top` without characters that mount options know."""

    top: Path
    short: Path

    @property
    def shown(self) -> dict[str, Path]:
        """Which of them the node sees where."""
        return {
            "/var/lib/kubelet": self.top / "kubelet",
            "/var/lib/containerd": self.top / "containerd",
            "/var/lib/cni": self.top / "cni",
            "/var/log": self.top / "log",
            "/etc/cdi": self.top / "cdi",
            "/etc/cni/net.d": self.top / "cni-configuration",
        }

    @property
    def run(self) -> Path:
        """What the node sees as /run."""
        return self.top / "run"

    @property
    def layers(self) -> Path:
        """Where a file system in memory holds the node's changes to /etc and /var."""
        return self.short / "layers"

    def make(self) -> None:
        """Make them on the host."""
        for path in (*self.shown.values(), self.run, self.top / "layers"):
            path.mkdir(parents=True, exist_ok=True)


def node_steps(folders: NodeFolders, mountinfo: str) -> list[Step]:
    """Return what the node's first process does to its mount namespace; `mountinfo` is the host's."""
    return [
        *steps.own_proc(),
        steps.mount(folders.layers, source="tmpfs", kind="tmpfs", data="mode=0755"),
        *_overlay(folders, "/etc", mountinfo),
        *_overlay(folders, "/var", mountinfo),
        *_shown(folders.shown),
        *_tunables(folders.layers / "tunables"),
        *_dev(),
        steps.bind(folders.run, "/run"),
        steps.write("/proc/sys/net/ipv4/ip_forward", "1"),
        # Volumes with mount propagation need a shared tree; it is shared inside the node only.
        steps.propagation(steps.MS_SHARED),
    ]


def _overlay(folders: NodeFolders, target: str, mountinfo: str) -> Iterator[Step]:
    """Lay a writable layer over `target`; what is mounted below it is kept aside and put back."""
    layer = folders.layers / target.strip("/")
    kept = list(enumerate(mounted_folders_below(target, mountinfo)))
    for number, path in kept:
        yield steps.folder(layer / f"kept-{number}")
        yield steps.bind(path, layer / f"kept-{number}")
    yield steps.folder(layer / "upper")
    yield steps.folder(layer / "work")
    options = f"lowerdir={target},upperdir={layer / 'upper'},workdir={layer / 'work'}"
    yield steps.mount(target, source="overlay", kind="overlay", data=options)
    for number, path in kept:
        yield steps.bind(layer / f"kept-{number}", path)


def mounted_folders_below(target: str, mountinfo: str) -> list[str]:
    """Return the topmost mount points below `target` that are folders."""
    found: list[str] = []
    for line in mountinfo.splitlines():
        path = line.split()[4].encode().decode("unicode_escape")
        inside_another = any(path.startswith(f"{other}/") for other in found)
        if path.startswith(f"{target}/") and not inside_another and path not in found and Path(path).is_dir():
            found.append(path)
    return found


def _shown(shown: dict[str, Path]) -> Iterator[Step]:
    for target, source in shown.items():
        yield steps.folder(target)
        yield steps.bind(source, target)


def _tunables(folder: Path) -> Iterator[Step]:
    yield steps.folder(folder)
    for name, value in _KERNEL_TUNABLES.items():
        file = folder / name.replace("/", ".")
        yield steps.write(file, f"{value}\n")
        yield steps.bind(file, f"/proc/sys/{name}")


def _dev() -> Iterator[Step]:
    present = list(_present(_DEVICES))
    yield steps.mount("/dev", source="tmpfs", kind="tmpfs", flags=steps.MS_NOSUID, data="mode=0755")
    for name, found in present:
        yield steps.folder(Path("/dev", name).parent)
        yield steps.device(f"/dev/{name}", found.st_mode, found.st_rdev)
    for name, source in _DEVICE_LINKS.items():
        yield steps.link(f"/dev/{name}", source)
    for name, kind, data in (
        ("pts", "devpts", "newinstance,ptmxmode=0666,mode=0620,gid=5"),
        ("shm", "tmpfs", "mode=1777"),
        ("mqueue", "mqueue", ""),
    ):
        yield steps.folder(f"/dev/{name}")
        yield steps.mount(
            f"/dev/{name}", source=kind, kind=kind, flags=steps.MS_NOSUID | steps.MS_NOEXEC, data=data
        )


def _present(names: Iterable[str]) -> Iterator[tuple[str, os.stat_result]]:
    for name in names:
        try:
            found = Path("/dev", name).stat()
        except OSError:
            continue
        if stat.S_ISCHR(found.st_mode):
            yield name, found
