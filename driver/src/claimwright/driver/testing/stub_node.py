"""A GPU node as folders: a driver root with a stub NVML, and a host root; for tests of the real adapters."""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

from claimwright.driver.testing.nvml import hgx_h100_host

_LIBRARIES = "usr/lib/x86_64-linux-gnu"
_VERSION = "580.126.20"


@dataclass(frozen=True)
class StubNode:
    """The folders of one node and the environment that points the plugin at them."""

    folder: Path

    @property
    def driver_root(self) -> Path:
        """The driver installation."""
        return self.folder / "driver-root"

    @property
    def host_root(self) -> Path:
        """The host's sysfs and procfs."""
        return self.folder / "host-root"

    @property
    def cdi_root(self) -> Path:
        """Where CDI specs go."""
        return self.folder / "cdi"

    @property
    def plugins_dir(self) -> Path:
        """The kubelet's plugins folder."""
        return self.folder / "plugins"

    @property
    def registry_dir(self) -> Path:
        """The kubelet's registration folder."""
        return self.folder / "registry"

    @property
    def environment(self) -> dict[str, str]:
        """Environment variables of the plugin."""
        return {
            "NVIDIA_DRIVER_ROOT": str(self.driver_root),
            "DRIVER_ROOT_CTR_PATH": str(self.folder / "not-mounted"),
            "HOST_ROOT": str(self.host_root),
            "CDI_ROOT": str(self.cdi_root),
            "KUBELET_PLUGINS_DIRECTORY_PATH": str(self.plugins_dir),
            "KUBELET_REGISTRAR_DIRECTORY_PATH": str(self.registry_dir),
        }


def build_stub_node(folder: Path, *definitions: str) -> StubNode:
    """Make the folders and compile the library with `-D` definitions such as `GPUS=1`; needs gcc."""
    node = StubNode(folder)
    for path in (node.cdi_root, node.plugins_dir, node.registry_dir):
        path.mkdir(parents=True, exist_ok=True)
    _driver_root(node.driver_root, definitions)
    _host_root(node.host_root)
    return node


def _driver_root(root: Path, definitions: tuple[str, ...]) -> None:
    libraries = root / _LIBRARIES
    for path in (libraries, root / "usr/bin", root / "dev", root / "run/nvidia-persistenced"):
        path.mkdir(parents=True, exist_ok=True)
    library = libraries / f"libnvidia-ml.so.{_VERSION}"
    _compile(library, definitions)
    for name, target in (("libnvidia-ml.so.1", library.name), ("libcuda.so.1", f"libcuda.so.{_VERSION}")):
        (libraries / name).symlink_to(target)
    (libraries / f"libcuda.so.{_VERSION}").touch()
    (root / "usr/bin/nvidia-smi").touch(mode=0o755)
    (root / "run/nvidia-persistenced/socket").touch()
    for name in ("nvidiactl", "nvidia-uvm", *(f"nvidia{minor}" for minor in range(8))):
        (root / "dev" / name).touch()


def _host_root(root: Path) -> None:
    host = hgx_h100_host()
    for path, text in host.files.items():
        file = root / path.relative_to("/")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    # A real sysfs lists devices by links; here the linked folders are where the links point to.
    for link, target in host.links.items():
        at = root / link.relative_to("/")
        if at.is_dir():
            real = at.parent / target
            real.parent.mkdir(parents=True, exist_ok=True)
            shutil.move(at, real)
        at.symlink_to(target)


def _compile(library: Path, definitions: tuple[str, ...]) -> None:
    source = resources.files(__package__) / "stub_nvml.c"
    flags = [f"-D{definition}" for definition in definitions]
    with resources.as_file(source) as path:
        command = ["gcc", "-shared", "-fPIC", "-O1", "-Wl,-soname,libnvidia-ml.so.1", *flags]
        subprocess.run([*command, "-o", str(library), str(path)], check=True, timeout=60)
