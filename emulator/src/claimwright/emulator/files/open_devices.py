"""Device nodes that are opened in this process: who has a GPU or a VFIO node open is part of the model."""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Callable
from typing import Any

from claimwright.emulator.errors import KernelRefused
from claimwright.emulator.model import NodeModel, NodeState
from claimwright.emulator.model.bus import groups, presence, vfio
from claimwright.emulator.model.change import Change
from claimwright.emulator.model.operations import bus

_TYPE1_IOMMUS = (1, 3)  # VFIO_TYPE1_IOMMU, VFIO_TYPE1v2_IOMMU


class OpenDevice:
    """An open node without any ioctl; `token` is who holds it in the model."""

    def __init__(self, model: NodeModel, path: str, token: int) -> None:
        self.model, self.path, self.token = model, path, token

    def read(self, _size: int) -> bytes:
        """Refuse: these nodes are not read."""
        raise OSError(errno.EINVAL, os.strerror(errno.EINVAL), self.path)

    def write(self, _data: bytes) -> int:
        """Refuse: these nodes are not written."""
        raise OSError(errno.EINVAL, os.strerror(errno.EINVAL), self.path)

    def ioctl(self, request: str, _argument: Any = None) -> Any:  # noqa: ANN401 - as each request says
        """Refuse what this kind of node does not know."""
        raise OSError(errno.ENOTTY, f"{request}: {os.strerror(errno.ENOTTY)}", self.path)

    def close(self) -> None:
        """Let everything go that this open file holds."""
        self.change(lambda state: vfio.released(state, self.token))

    def change(self, change: Callable[[NodeState], NodeState]) -> None:
        """Change the model; OSError with the kernel's errno."""
        try:
            self.model.perform(lambda state: Change(change(state), None))
        except KernelRefused as refused:
            raise OSError(refused.errno, refused.said, self.path) from refused


class OpenContainer(OpenDevice):
    """/dev/vfio/vfio: what groups are set to; and /dev/iommu, to which devices are bound."""

    iommu: int | None = None

    def ioctl(self, request: str, argument: Any = None) -> Any:  # noqa: ANN401
        """Answer VFIO_GET_API_VERSION and VFIO_SET_IOMMU."""
        if request == "VFIO_GET_API_VERSION":
            return "0"
        if request == "VFIO_SET_IOMMU":
            if argument not in _TYPE1_IOMMUS:
                raise OSError(errno.ENODEV, f"no IOMMU backend of type {argument}", self.path)
            self.iommu = argument
            return None
        return super().ioctl(request, argument)


class OpenGroup(OpenDevice):
    """/dev/vfio/<group>."""

    def __init__(self, model: NodeModel, path: str, token: int, group: int) -> None:
        super().__init__(model, path, token)
        self.group = group
        self.container: OpenContainer | None = None
        self.devices: list[OpenGroupDevice] = []
        self.change(lambda state: vfio.group_opened(state, group, token))

    def ioctl(self, request: str, argument: Any = None) -> Any:  # noqa: ANN401
        """Answer the requests of a group (drivers/vfio/group.c)."""
        match request:
            case "VFIO_GROUP_GET_STATUS":
                viable = groups.is_viable(self.model.snapshot().bus, self.group)
                return " ".join(("viable",) * viable + ("container",) * (self.container is not None))
            case "VFIO_GROUP_SET_CONTAINER":
                self._set(argument)
            case "VFIO_GROUP_UNSET_CONTAINER":
                self._unset()
            case "VFIO_GROUP_GET_DEVICE_FD":
                return self._device(str(argument))
            case _:
                return super().ioctl(request, argument)
        return None

    def _set(self, container: object) -> None:
        if self.container is not None or not isinstance(container, OpenContainer):
            raise OSError(errno.EINVAL, "a container is set, or what was given is none", self.path)
        self.change(lambda state: vfio.container_set(state, self.group, self.token))
        self.container = container

    def _unset(self) -> None:
        if self.container is None:
            raise OSError(errno.EINVAL, "no container is set", self.path)
        if self.devices:
            raise OSError(errno.EBUSY, f"{len(self.devices)} devices of the group are open", self.path)
        self.change(lambda state: vfio.released(state, self.token, f"container/{self.group}"))
        self.container = None

    def _device(self, name: str) -> OpenGroupDevice:
        if self.container is None or self.container.iommu is None:
            raise OSError(errno.EINVAL, "the group has no container with an IOMMU", self.path)
        state = self.model.snapshot()
        address = presence.find(state, name)
        present = None if address is None else state.bus.functions[address]
        if present is None or present.iommu_group != self.group or present.vfio_device is None:
            raise OSError(errno.ENODEV, f"{name} is no VFIO device of group {self.group}", self.path)
        return OpenGroupDevice(self, present.vfio_device)


class OpenGroupDevice(OpenDevice):
    """A device that was opened through its group."""

    def __init__(self, group: OpenGroup, number: int) -> None:
        super().__init__(group.model, group.path, group.token + (number + 1 << 40))
        self._group = group
        self.change(lambda state: vfio.device_opened(state, number, self.token))
        group.devices.append(self)

    def close(self) -> None:
        """Let it go; the group may leave its container then."""
        super().close()
        if self in self._group.devices:
            self._group.devices.remove(self)


class OpenVfioDevice(OpenDevice):
    """/dev/vfio/devices/vfio<N>: nothing is held until it is bound to an IOMMUFD."""

    def __init__(self, model: NodeModel, path: str, token: int, number: int) -> None:
        super().__init__(model, path, token)
        self._number = number
        self._bound = False

    def ioctl(self, request: str, argument: Any = None) -> Any:  # noqa: ANN401
        """Answer VFIO_DEVICE_BIND_IOMMUFD: EINVAL when this open file is bound already."""
        if request != "VFIO_DEVICE_BIND_IOMMUFD":
            return super().ioctl(request, argument)
        if self._bound or not isinstance(argument, OpenContainer):
            raise OSError(errno.EINVAL, "it is bound already, or what was given is no IOMMUFD", self.path)
        self.change(lambda state: vfio.device_bound(state, self._number, self.token))
        self._bound = True
        return None


def open_device(model: NodeModel, path: str, token: int) -> OpenDevice:
    """Open a node by its path; ENXIO where nothing of the model is behind it."""
    if found := re.fullmatch(r"dev/vfio/(\d+)", path):
        return OpenGroup(model, path, token, int(found[1]))
    if found := re.fullmatch(r"dev/vfio/devices/vfio(\d+)", path):
        return OpenVfioDevice(model, path, token, int(found[1]))
    if path in ("dev/vfio/vfio", "dev/iommu"):
        return OpenContainer(model, path, token)
    if found := re.fullmatch(r"dev/nvidia(\d+)", path):
        minor = int(found[1])
        gpu = next(each for each in model.snapshot().gpus if each.minor == minor)
        opened = OpenDevice(model, path, token)
        opened.change(lambda state: bus.open_gpu(state, str(gpu.pci), token).state)
        return opened
    raise OSError(errno.ENXIO, os.strerror(errno.ENXIO), f"/{path}")
