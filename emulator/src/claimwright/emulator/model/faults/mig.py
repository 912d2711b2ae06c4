"""MIG that was left in the middle: what a driver finds after it, or another one, died between two calls."""

from __future__ import annotations

from typing import Annotated

from claimwright.emulator.errors import OperationRefused, Refusal
from claimwright.emulator.model.change import Change, gpu_at
from claimwright.emulator.model.faults.fault import GpuFault, changed_gpu
from claimwright.emulator.model.mig.instances import GpuInstance, Mig
from claimwright.emulator.model.mig.naming import gpu_instance_id
from claimwright.emulator.model.mig.placements import Placement
from claimwright.emulator.model.mig.room import room_on
from claimwright.emulator.model.rules import Field
from claimwright.emulator.model.state import GpuState, NodeState


class MigHalfMade(GpuFault):
    """A GPU instance without a compute instance: it takes room, and there is no MIG device."""

    name = "mig-half-made"
    summary = (
        "a GPU instance without compute instance is left behind, as by a driver that died between two calls"
    )
    faces = (
        "NVML GPU instances and what is left of each profile, no MIG device; nvidia-smi mig -lgi; "
        "/proc/driver/nvidia/capabilities; ends too when somebody destroys the instance"
    )

    profile: Annotated[int, Field(ge=0, description="GPU instance profile id, such as 19 for 1g")]
    start: Annotated[int, Field(ge=0, description="first memory slice that it takes")]

    def strike(self, state: NodeState) -> Change[None]:
        """Cut the instance out, and leave it."""
        gpu = gpu_at(state, self.gpu)
        mig, place = self._place(gpu)
        assert gpu.board.mig is not None
        made = GpuInstance(gpu_instance_id(gpu.board.mig, place), self.profile, place)
        return Change(changed_gpu(state, self.gpu, mig=mig.with_instance(made)), None)

    def release(self, state: NodeState) -> NodeState:
        """Destroy what is still half made; what somebody finished, or destroyed, is theirs."""
        mig = gpu_at(state, self.gpu).mig
        if mig is None:
            return state
        for each in mig.gpu_instances:
            if (each.profile, each.placement.start) == (
                self.profile,
                self.start,
            ) and not each.compute_instances:
                return changed_gpu(state, self.gpu, mig=mig.without_instance(each.id))
        return state

    def _place(self, gpu: GpuState) -> tuple[Mig, Placement]:
        spec, mig = gpu.board.mig, gpu.mig
        if spec is None or mig is None or not mig.current:
            raise OperationRefused(
                Refusal.NOT_SUPPORTED, f"GPU {self.gpu} is not in MIG mode: turn it on first (set_mig_mode)"
            )
        kind = spec.by_id.get(self.profile)
        free = () if kind is None else room_on(gpu.board, mig.gpu_instances).places(kind)
        place = next((each for each in free if each.start == self.start), None)
        if place is None:
            starts = ", ".join(str(each.start) for each in free) or "none"
            raise OperationRefused(
                Refusal.INSUFFICIENT_RESOURCES,
                f"profile={self.profile} start={self.start}: expected a profile of {gpu.board.name} and a free "
                f"start (free for this profile: {starts})",
            )
        return mig, place
