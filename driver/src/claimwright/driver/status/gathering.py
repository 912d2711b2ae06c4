"""Reading a node's state; nothing is written and nothing is locked."""

from __future__ import annotations

import socket
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Final

from claimwright.driver import recent_errors
from claimwright.driver.entries import Entry
from claimwright.driver.errors import NodeUnusable
from claimwright.driver.feature_gates import FeatureGates
from claimwright.driver.inventory import Gpu
from claimwright.driver.node_view import NodePaths, read_claims, read_inventory
from claimwright.driver.ownership import is_own, is_own_vgpu
from claimwright.driver.repertoire import recipes
from claimwright.driver.settings import GPU_DRIVER
from claimwright.driver.status.values import GpuStatus, Holding, Status
from claimwright.driver.stock import Stock

_CONNECT_SECONDS: Final = 2.0


def gather(paths: NodePaths, gates: FeatureGates) -> Status:
    """Read everything that can be read; what cannot is a problem, and the rest is there all the same."""
    problems: list[str] = []
    serving = _serves(paths.registry_dir)
    if not serving:
        problems.append(
            f"the driver does not serve: no {GPU_DRIVER} socket in {paths.registry_dir} takes a connection; "
            "see the plugin pod's log"
        )
    entries = _claims(paths, problems)
    holdings = tuple(_holdings(entries.values()))
    stock = _stock(paths, gates, entries, problems)
    if stock is not None:
        problems += [f"{each.name} is not offered: {each.reason}" for each in stock.inventory.left_out]
    return Status(
        serving=serving,
        driver_version="" if stock is None else stock.inventory.driver_version,
        gpus=_gpus(stock, holdings),
        holdings=holdings,
        errors=recent_errors.read(paths.plugin_dir / recent_errors.NAME),
        problems=tuple(problems),
    )


def _serves(registry: Path) -> bool:
    return any(_answers(path) for path in sorted(registry.glob(f"{GPU_DRIVER}*.sock")))


def _answers(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as door:
        door.settimeout(_CONNECT_SECONDS)
        try:
            door.connect(str(path))
        except OSError:
            return False
    return True


def _claims(paths: NodePaths, problems: list[str]) -> Mapping[str, Entry]:
    try:
        return read_claims(paths)
    except NodeUnusable as error:
        problems.append(str(error))
        return {}


def _stock(
    paths: NodePaths, gates: FeatureGates, entries: Mapping[str, Entry], problems: list[str]
) -> Stock | None:
    try:
        own_vgpu = is_own_vgpu(entries.values()) if gates["VGPUSupport"] else None
        return Stock(recipes(gates), read_inventory(paths, is_own(entries.values()), own_vgpu))
    except NodeUnusable as error:
        problems.append(str(error))
        return None


def _holdings(entries: Iterable[Entry]) -> Iterable[Holding]:
    for entry in entries:
        for held in entry.devices:
            yield Holding(
                claim=str(entry.claim),
                uid=entry.uid,
                state=entry.state.value,
                request=held.request,
                device=held.device,
                kind=held.kind,
                hardware=held.hardware,
                share=held.share_id,
                admin_access=held.admin_access,
            )


def _gpus(stock: Stock | None, holdings: Sequence[Holding]) -> tuple[GpuStatus, ...]:
    """Return every GPU that is seen, offered or held, by address."""
    seen: dict[str, Gpu] = {} if stock is None else {gpu.pci_bus_id: gpu for gpu in stock.inventory.gpus}
    offered: dict[str, list[str]] = {}
    for offer in stock.offers.values() if stock is not None else ():
        offered.setdefault(offer.hardware, []).append(offer.name)
    return tuple(
        _gpu(address, seen.get(address), offered.get(address, ()), holdings)
        for address in sorted({*seen, *offered, *(held.hardware for held in holdings)})
    )


def _gpu(address: str, gpu: Gpu | None, offered: Sequence[str], holdings: Sequence[Holding]) -> GpuStatus:
    mig = "" if gpu is None or gpu.mig is None else "on" if gpu.mig.enabled else "off"
    return GpuStatus(
        address=address,
        name="" if gpu is None else gpu.device_name,
        product="" if gpu is None else gpu.product_name,
        uuid="" if gpu is None else gpu.uuid,
        mig=mig,
        offered=tuple(offered),
        holdings=tuple(held for held in holdings if held.hardware == address),
    )
