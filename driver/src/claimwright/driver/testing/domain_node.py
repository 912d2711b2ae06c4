"""A node of an NVLink rack in memory, on which the ComputeDomain plugin's own composition runs.

Its doors, files and API objects outlive the machines that are started over it, as they outlive a killed driver.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, Final

from claimwright.dra.claims import Claim
from claimwright.dra.kube import NODES, RESOURCE_CLAIMS
from claimwright.dra.testing import FakeApi, allocated_claim
from claimwright.driver.commands.compute_domain_plugin import compute_domain_plugin as command
from claimwright.driver.commands.compute_domain_plugin import settings_of
from claimwright.driver.computedomain.plugin.cliques import CliqueBook, clique_of
from claimwright.driver.computedomain.plugin.doors import DomainDoors
from claimwright.driver.computedomain.plugin.planning import DomainPlanner, explain_taken
from claimwright.driver.computedomain.plugin.repertoire import domains, installation, management, toolbox
from claimwright.driver.computedomain.plugin.settings import DomainPluginSettings
from claimwright.driver.computedomain.plugin.steps import ManagementSpec
from claimwright.driver.computedomain.plugin.sweeping import sweep_folders
from claimwright.driver.computedomain.plugin.taking_over import DomainTakeOver
from claimwright.driver.computedomain.resources import (
    CLIQUES,
    COMPUTE_DOMAINS,
    DOMAIN,
    ComputeDomain,
    Member,
    clique_name,
)
from claimwright.driver.driver_root import DriverRoot
from claimwright.driver.journal import DiskFile, Journal, JournalFile
from claimwright.driver.machine import Machine
from claimwright.driver.ports import FabricReading
from claimwright.driver.restoring import Restorer
from claimwright.driver.steps import Tool, Toolbox
from claimwright.driver.sweeping import Sweeper
from claimwright.driver.testing.clock import HandClock
from claimwright.driver.testing.nvml import MemoryNvml, gpu_reading, hgx_h100_host
from claimwright.driver.testing.processes import ScriptedProcesses
from claimwright.driver.tools.claim_spec import kind_of

NODE: Final = "node-a"
NAMESPACE: Final = "claimwright"
BOOT: Final = "6a1f0c5e-0000-4000-8000-000000000001"
CLUSTER: Final = "5d1a6ab0-1111-4222-8333-444455556666"
CLIQUE: Final = f"{CLUSTER}.7"
ATTACHED: Final = FabricReading(CLUSTER, 7, state=3)
_CHANNELS: Final = (
    "Character devices:\n195 nvidia\n236 nvidia-caps\n235 nvidia-caps-imex-channels\n\nBlock devices:"
)


@dataclass(frozen=True)
class StartedPlugin:
    """One life of the plugin's machine over the node."""

    machine: Machine
    planner: DomainPlanner
    toolbox: Toolbox
    journal: Journal
    problem: str | None = None


class DomainNode:
    """The node; `with FakeApi() as api, closing(DomainNode(folder, api)) as node:`."""

    def __init__(
        self,
        folder: Path,
        api: FakeApi,
        *,
        flags: Sequence[str] = (),
        fabric: FabricReading | None = ATTACHED,
    ) -> None:
        self.api, self.folder = api, folder
        self.cdi = folder / "cdi"
        self.cdi.mkdir()
        params = command.make_context("compute-domain-plugin", [*_flags(folder), *flags]).params
        self.settings: DomainPluginSettings = settings_of(params)
        self.settings.plugin_dir.mkdir(parents=True)
        self.clock = HandClock()
        self.host = hgx_h100_host()
        self.host.files[PurePosixPath("/proc/devices")] = _CHANNELS
        self.host.files[PurePosixPath("/proc/driver/nvidia/capabilities/fabric-imex-mgmt")] = (
            "DeviceFileMinor: 3\nDeviceFileMode: 256\nDeviceFileModify: 1"
        )
        self.host.devices[PurePosixPath("/dev/nvidia-caps/nvidia-cap3")] = (236, 3)
        self.nvml = MemoryNvml([gpu_reading(minor, fabric=fabric) for minor in range(4)])
        self.processes = ScriptedProcesses()
        self.doors = DomainDoors(
            self.nvml, self.host, _driver_root(folder / "driver"), api.kube(), self.processes, self.clock
        )
        self.boot = BOOT
        self._journals: list[Journal] = []
        api.put(NODES, {"metadata": {"name": NODE}})

    @property
    def clique(self) -> str:
        """The clique that NVML tells now."""
        return clique_of(self.nvml.read(), self.settings.feature_gates)

    def domain(self, name: str, *, namespace: str = "default") -> ComputeDomain:
        """Create a ComputeDomain; its uid follows from its name."""
        template = {"resourceClaimTemplate": {"name": f"{name}-channel"}}
        metadata = {"name": name, "namespace": namespace, "uid": str(uuid.uuid5(uuid.NAMESPACE_DNS, name))}
        item = {"metadata": metadata, "spec": {"numNodes": 0, "channel": template}}
        return ComputeDomain.from_object(self.api.put(COMPUTE_DOMAINS, item))

    def daemon_says(self, domain: ComputeDomain, *, ready: bool = True) -> None:
        """Have the domain's daemon on this node write its row, where a daemon of this node writes it."""
        row = Member(NODE, "10.0.0.5", self.clique, 0 if self.clique else -1, ready)
        if self.clique:
            metadata = {
                "name": clique_name(domain.uid, self.clique),
                "namespace": NAMESPACE,
                "labels": {DOMAIN: domain.uid},
            }
            self.api.put(CLIQUES, {"metadata": metadata, "daemons": [row.row(named="nodeName")]})
            return
        item = next(
            each for each in self.api.objects(COMPUTE_DOMAINS) if each["metadata"]["uid"] == domain.uid
        )
        self.api.put(COMPUTE_DOMAINS, {**item, "status": {"nodes": [row.row(named="name")]}})

    def channel(
        self,
        name: str,
        domain: ComputeDomain,
        *,
        namespace: str = "default",
        device: str = "channel-0",
        **config: Any,  # noqa: ANN401
    ) -> Claim:
        """Give a claim a channel of a domain."""
        body = {"domainID": domain.uid, **config}
        return self.claim(name, device, _config("ComputeDomainChannelConfig", body), namespace=namespace)

    def daemon(self, name: str, domain: ComputeDomain, *, namespace: str = NAMESPACE) -> Claim:
        """Give a claim the daemon of a domain."""
        body = _config("ComputeDomainDaemonConfig", {"domainID": domain.uid})
        return self.claim(name, "daemon-0", body, namespace=namespace)

    def claim(
        self,
        name: str,
        device: str,
        parameters: Mapping[str, Any] | None = None,
        *,
        namespace: str = "default",
    ) -> Claim:
        """Give a claim one device, with opaque parameters for it; its uid follows from the name."""
        driver = self.settings.driver
        config = {"source": "FromClaim", "opaque": {"driver": driver, "parameters": parameters}}
        item = allocated_claim(
            name,
            driver,
            [("channel", NODE, device)],
            namespace=namespace,
            uid=str(uuid.uuid5(uuid.NAMESPACE_DNS, name)),
            configs=[config] if parameters else (),
        )
        return Claim.from_object(self.api.put(RESOURCE_CLAIMS, item))

    async def start(
        self,
        *,
        wrap: Callable[[Tool], Tool] = lambda tool: tool,
        file: Callable[[Path], JournalFile] = DiskFile,
    ) -> StartedPlugin:
        """Start the driver without recovering: as a process that has just read its journal."""
        cliques = CliqueBook(self.nvml, self.settings.feature_gates, self.clique)
        planner = DomainPlanner(self.settings, lambda: cliques.clique)
        restorer = Restorer(
            self.settings.journal,
            self.cdi,
            self.boot,
            planner,
            self.doors.kube,
            self.clock,
            DomainTakeOver(planner),
            over_boots=True,
        )
        known = await restorer.remember()
        entries = tuple(known.entries.values())
        journal = Journal(
            file(self.settings.journal), driver=self.settings.driver, boot_id=self.boot, entries=entries
        )
        self._journals.append(journal)
        here = installation(self.settings, self.doors, self.nvml.driver_version)
        able = toolbox(self.settings, self.doors, here, self.spec, lambda: cliques.clique)
        wrapped = Toolbox(*map(wrap, able))
        machine = Machine(journal, wrapped, known.entries, explain=explain_taken)
        return StartedPlugin(machine, planner, wrapped, journal, known.problem)

    @property
    def spec(self) -> ManagementSpec:
        """The spec that daemons use."""
        here = installation(self.settings, self.doors, self.nvml.driver_version)
        return management(self.settings, here, self.doors)

    def sweep(self, started: StartedPlugin) -> None:
        """Do what each start does after it recovered."""
        kind = kind_of(self.settings.driver)
        Sweeper(started.machine, self.doors.kube, self.cdi, self.clock, kind=kind).remove_orphans()
        sweep_folders(self.settings.domains_dir, started.machine, domains(self.settings, self.doors))
        self.spec.write()

    def world(self) -> Mapping[str, Any]:
        """Return all that a step can have changed, to compare."""
        folder = self.settings.domains_dir
        return {
            "label": self.label,
            "cdi": sorted(path.name for path in self.cdi.iterdir()),
            "domains": sorted(path.name for path in folder.iterdir()) if folder.is_dir() else [],
        }

    @property
    def label(self) -> str | None:
        """The uid of the domain that the Node is labelled with."""
        node = next(item for item in self.api.objects(NODES) if item["metadata"]["name"] == NODE)
        found: str | None = (node["metadata"].get("labels") or {}).get(DOMAIN)
        return found

    def close(self) -> None:
        """End all lives: each has a file open, and a thread."""
        while self._journals:
            self._journals.pop().close()


def _config(kind: str, body: Mapping[str, Any]) -> dict[str, Any]:
    return {"apiVersion": "resource.nvidia.com/v1beta1", "kind": kind, **body}


def _driver_root(folder: Path) -> DriverRoot:
    for path in ("usr/lib64/libnvidia-ml.so.1", "usr/bin/nvidia-imex", "usr/bin/nvidia-imex-ctl"):
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).touch()
    return DriverRoot(folder, PurePosixPath(folder))


def _flags(folder: Path) -> list[str]:
    values = {
        "node-name": NODE,
        "namespace": NAMESPACE,
        "cdi-root": folder / "cdi",
        "host-root": folder,
        "kubelet-plugins-directory-path": folder / "plugins",
        "kubelet-registrar-directory-path": folder / "registry",
    }
    return [word for name, value in values.items() for word in (f"--{name}", str(value))]
