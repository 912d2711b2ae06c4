"""Device nodes that are opened in this process: who has a GPU or a VFIO node open is part of the model."""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Callable
from itertools import count
from typing import Any

from claimwright.emulator.errors import KernelRefused
from claimwright.emulator.model import NodeModel, NodeState
from claimwright.emulator.model.bus import groups, vfio
from claimwright.emulator.model.change import Change
from claimwright.emulator.model.operations import bus

_TYPE1_IOMMUS = (1, 3)  # VFIO_TYPE1_IOMMU, VFIO_TYPE1v2_IOMMU
_DEVICE_TOKENS = count(
    1 << 48
)  # holders of devices that were opened through a group: no node has such a token


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
    """/dev/vfio/vfio: what groups are set to; it has an IOMMU while it has groups (drivers/vfio/container.c)."""

    def __init__(self, model: NodeModel, path: str, token: int) -> None:
        super().__init__(model, path, token)
        self.groups: set[OpenGroup] = set()
        self._iommu: int | None = None

    @property
    def ready(self) -> bool:
        """Whether devices of its groups can be opened."""
        return self._iommu is not None

    def ioctl(self, request: str, argument: Any = None) -> Any:  # noqa: ANN401
        """Answer VFIO_GET_API_VERSION and VFIO_SET_IOMMU."""
        if request == "VFIO_GET_API_VERSION":
            return "0"
        if request == "VFIO_SET_IOMMU":
            if not self.groups or self._iommu is not None:
                raise OSError(errno.EINVAL, "no group is set to it, or it has an IOMMU already", self.path)
            if argument not in _TYPE1_IOMMUS:
                raise OSError(errno.ENODEV, f"no IOMMU backend of type {argument}", self.path)
            self._iommu = argument
            return None
        return super().ioctl(request, argument)

    def leave(self, group: OpenGroup) -> None:
        """Let a group go; the IOMMU goes with the last."""
        self.groups.discard(group)
        if not self.groups:
            self._iommu = None


class OpenIommufd(OpenDevice):
    """/dev/iommu: what devices are bound to; a group may take it for a container (iommufd/vfio_compat.c)."""

    def __init__(self, model: NodeModel, path: str, token: int) -> None:
        super().__init__(model, path, token)
        self.groups: set[OpenGroup] = set()
        self.ready = True

    def leave(self, group: OpenGroup) -> None:
        """Let a group go."""
        self.groups.discard(group)


class OpenGroup(OpenDevice):
    """/dev/vfio/<group>; it stays open for as long as devices are that were opened through it, and may die before."""

    def __init__(self, model: NodeModel, path: str, token: int, group: int) -> None:
        super().__init__(model, path, token)
        self.group = group
        self.container: OpenContainer | OpenIommufd | None = None
        self.devices: list[OpenGroupDevice] = []
        self._closed = False
        self.change(lambda state: vfio.group_opened(state, group, token))

    def ioctl(self, request: str, argument: Any = None) -> Any:  # noqa: ANN401
        """Answer the requests of a group (drivers/vfio/group.c)."""
        match request:
            case "VFIO_GROUP_GET_STATUS":
                self._check_alive()
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

    def close(self) -> None:
        """Let it go, when the last device is closed that was opened through it."""
        self._closed = True
        self.settle()

    def settle(self) -> None:
        """Let everything go when nothing is open any more."""
        if self._closed and not self.devices:
            self._leave_container()
            super().close()

    def _check_alive(self) -> None:
        if self.token not in self.model.snapshot().bus.holders.get(f"group/{self.group}", ()):
            raise OSError(errno.ENODEV, f"the last device of group {self.group} is gone", self.path)

    def _set(self, container: object) -> None:
        if self.container is not None:
            raise OSError(errno.EINVAL, "a container is set", self.path)
        self._check_alive()
        if not isinstance(container, OpenContainer | OpenIommufd):
            raise OSError(errno.EBADFD, "neither a container nor an IOMMUFD", self.path)
        self.change(lambda state: vfio.container_set(state, self.group, self.token))
        self.container = container
        container.groups.add(self)

    def _unset(self) -> None:
        if self.container is None:
            raise OSError(errno.EINVAL, "no container is set", self.path)
        if self.devices:
            raise OSError(errno.EBUSY, f"{len(self.devices)} devices of the group are open", self.path)
        self.change(lambda state: vfio.released(state, self.token, f"container/{self.group}"))
        self._leave_container()

    def _leave_container(self) -> None:
        if self.container is not None:
            self.container.leave(self)
            self.container = None

    def _device(self, name: str) -> OpenGroupDevice:
        number = vfio.device_named(self.model.snapshot(), name, self.group)
        if number is None:
            raise OSError(errno.ENODEV, f"{name} is no VFIO device of group {self.group}", self.path)
        if self.container is None or not self.container.ready:
            raise OSError(errno.EINVAL, "the group has no container with an IOMMU", self.path)
        return OpenGroupDevice(self, number)


class OpenGroupDevice(OpenDevice):
    """A device that was opened through its group."""

    def __init__(self, group: OpenGroup, number: int) -> None:
        super().__init__(group.model, group.path, next(_DEVICE_TOKENS))
        self._group = group
        self.change(lambda state: vfio.device_opened(state, number, self.token))
        group.devices.append(self)

    def close(self) -> None:
        """Let it go; the group may leave its container then."""
        super().close()
        if self in self._group.devices:
            self._group.devices.remove(self)
            self._group.settle()


class OpenVfioDevice(OpenDevice):
    """/dev/vfio/devices/vfio<N>: held from the start, usable once it is bound to an IOMMUFD."""

    def __init__(self, model: NodeModel, path: str, token: int, number: int) -> None:
        super().__init__(model, path, token)
        self._number = number
        self._bound = False
        self.change(lambda state: vfio.node_opened(state, number, token))

    def ioctl(self, request: str, argument: Any = None) -> Any:  # noqa: ANN401
        """Answer VFIO_DEVICE_BIND_IOMMUFD; before it nothing else is answered (vfio_main.c, access_granted)."""
        if request != "VFIO_DEVICE_BIND_IOMMUFD":
            if not self._bound:
                raise OSError(errno.EINVAL, "it is not bound to an IOMMUFD", self.path)
            return super().ioctl(request, argument)
        if self._bound:
            raise OSError(errno.EINVAL, "it is bound already", self.path)
        self._bind(argument)
        return None

    def _bind(self, iommufd: object) -> None:
        if isinstance(iommufd, OpenIommufd):
            self.change(lambda state: vfio.device_bound(state, self._number, self.token, iommufd.token))
            self._bound = True
            return
        raise OSError(errno.EBADFD, "what was given is no IOMMUFD", self.path)


def open_device(model: NodeModel, path: str, token: int) -> OpenDevice:
    """Open a node by its path; ENXIO where nothing of the model is behind it."""
    if found := re.fullmatch(r"dev/vfio/(\d+)", path):
        return OpenGroup(model, path, token, int(found[1]))
    if found := re.fullmatch(r"dev/vfio/devices/vfio(\d+)", path):
        return OpenVfioDevice(model, path, token, int(found[1]))
    if path == "dev/vfio/vfio":
        return OpenContainer(model, path, token)
    if path == "dev/iommu":
        return OpenIommufd(model, path, token)
    if found := re.fullmatch(r"dev/nvidia(\d+)", path):
        minor = int(found[1])
        gpu = next(each for each in model.snapshot().gpus if each.minor == minor)
        opened = OpenDevice(model, path, token)
        opened.change(lambda state: bus.open_gpu(state, str(gpu.pci), token).state)
        return opened
    raise OSError(errno.ENXIO, os.strerror(errno.ENXIO), f"/{path}")
