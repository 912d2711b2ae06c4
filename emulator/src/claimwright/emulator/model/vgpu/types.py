"""A vGPU type as a value: what its name, its series and the tables say."""

from __future__ import annotations

from dataclasses import dataclass

_CLASS = {"Q": "Quadro", "A": "NVS", "B": "NVS", "C": "Compute"}
_LICENSE = {
    "Q": "NVIDIA-Virtual-DWS,5.0;GRID-Virtual-WS,2.0;GRID-Virtual-WS-Ext,2.0",
    "A": "GRID-Virtual-Apps,3.0",
    "B": "GRID-Virtual-PC,2.0;NVIDIA-Virtual-DWS,5.0;GRID-Virtual-WS,2.0;GRID-Virtual-WS-Ext,2.0",
    "C": "NVIDIA-vComputeServer,9.0;NVIDIA-Virtual-DWS,5.0",
}
_HEADS = {"Q": 4, "A": 1, "B": 4, "C": 1}
_FRAMES_PER_SECOND = {"Q": 60, "A": 60, "B": 45, "C": 0}  # 0: not limited
_RESOLUTION = {"Q": (7680, 4320), "A": (1280, 1024), "B": (5120, 2880), "C": (4096, 2160)}
_SMALL_WORKSTATION = (5120, 2880)  # Q types of 1 GiB


@dataclass(frozen=True, slots=True)
class VgpuType:
    """One type. `per_gpu` and `mixed` count vGPUs of one GPU, `per_instance` those of one GPU instance.

    `profile` is the id of the GPU instance profile that backs it, None for time-sliced types.
    """

    id: int
    name: str
    series: str
    framebuffer_mib: int
    per_gpu: int
    mixed: int
    profile: int | None = None
    per_instance: int = 1

    @property
    def class_name(self) -> str:
        """`nvmlVgpuTypeGetClass`."""
        return _CLASS[self.series]

    @property
    def license(self) -> str:
        """`nvmlVgpuTypeGetLicense`: product and version, by falling preference."""
        return _LICENSE[self.series]

    @property
    def heads(self) -> int:
        """Virtual displays."""
        return _HEADS[self.series]

    @property
    def frame_rate_limit(self) -> int:
        """Frames per second, 0 when there is no limit."""
        return _FRAMES_PER_SECOND[self.series]

    @property
    def resolution(self) -> tuple[int, int]:
        """The largest picture of one display."""
        if self.series == "Q" and self.framebuffer_mib <= 1024:
            return _SMALL_WORKSTATION
        return _RESOLUTION[self.series]

    @property
    def description(self) -> str:
        """The one line of `mdev_supported_types/nvidia-<id>/description`."""
        wide, high = self.resolution
        return (
            f"num_heads={self.heads}, frl_config={self.frame_rate_limit}, framebuffer={self.framebuffer_mib}M, "
            f"max_resolution={wide}x{high}, max_instance={self.per_gpu}"
        )
