"""What sharing by MPS takes, of whole GPUs and of partitions alike."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from claimwright.dra.claims import ClaimUid
from claimwright.driver.edits import EditCall
from claimwright.driver.edits.mps_client import mps_client
from claimwright.driver.errors import ClaimRefused
from claimwright.driver.inventory import Gpu
from claimwright.driver.mps.limits import check_many_users, described, group_id, pinned_limits
from claimwright.driver.recipes.mig_device import MigDevice
from claimwright.driver.shares import Shares
from claimwright.driver.steps import Step
from claimwright.driver.strategies import MPS
from claimwright.driver.tools.compute_mode import exclusive_process
from claimwright.driver.tools.mps_daemon import mps_daemon

if TYPE_CHECKING:
    from claimwright.driver.configs.sharing import MigDeviceSharing


@dataclass(frozen=True)
class MpsSharing:
    """Steps for the group, and edits for each of its devices; nothing of either when it does not share by MPS."""

    steps: tuple[Step, ...] = ()
    edits: tuple[EditCall, ...] = ()


def mps_of_gpus(
    claim: ClaimUid, gpus: Sequence[Gpu], sharing: MigDeviceSharing | None, shares: Shares
) -> MpsSharing:
    """Plan the daemon of whole GPUs, which it has to itself; ClaimRefused names what it cannot do."""
    if sharing is None or sharing.strategy != MPS:
        return MpsSharing()
    _check_shares(shares)
    limits = described(sharing.mps_config)
    uuids = [gpu.uuid for gpu in gpus]
    pinned_limits(limits, uuids)
    check_many_users(limits, {gpu.device_name: gpu.cuda_compute_capability for gpu in gpus})
    group = group_id(claim, uuids)
    devices = [{"gpu": uuid} for uuid in uuids]
    exclusive = [exclusive_process(uuid) for uuid in uuids]
    return MpsSharing((*exclusive, mps_daemon(group, devices, limits)), (mps_client(group),))


def mps_of_partitions(
    claim: ClaimUid, devices: Sequence[MigDevice], sharing: MigDeviceSharing | None, shares: Shares
) -> MpsSharing:
    """Plan the daemon of partitions, of which some may be cut only when the claim is prepared."""
    if sharing is None or sharing.strategy != MPS:
        return MpsSharing()
    _check_shares(shares)
    limits = described(sharing.mps_config)
    check_many_users(limits, {device.name: device.gpu.cuda_compute_capability for device in devices})
    uuids = [device.uuid for device in devices if device.uuid is not None]
    if len(uuids) == len(devices):
        pinned_limits(limits, uuids)
    group = group_id(claim, uuids if len(uuids) == len(devices) else [device.name for device in devices])
    return MpsSharing(
        (mps_daemon(group, [_place(device) for device in devices], limits),), (mps_client(group),)
    )


def _place(device: MigDevice) -> Mapping[str, Any]:
    return {"gpu": device.gpu.uuid, "start": device.placement.start, "size": device.placement.size}


def _check_shares(shares: Shares) -> None:
    if shares.enabled:
        raise ClaimRefused(
            "MPS sharing is not supported when consumable shares is enabled: a share has no daemon of its own; "
            "use TimeSlicing, or start the driver with --consumable-shares=disabled"
        )
