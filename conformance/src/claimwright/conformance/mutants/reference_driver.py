"""A small, correct DRA driver with invented devices: what the suite is proven against.

Built on claimwright.dra.plugin as any Python driver would be. Its devices are names; nothing is done to hardware.
State is one file per claim, written after the CDI spec and removed before it, so that a crash at any point leaves
something that the next call finishes.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import re
import signal
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from claimwright.conformance.mutants.mutation import HONEST, Mutation, apply_to_process
from claimwright.dra.cdi import CdiDevice, CdiSpec, ContainerEdits, DeviceNode, remove_spec, write_spec
from claimwright.dra.claims import Claim, ClaimReference, ClaimUid, DeviceResult
from claimwright.dra.files import write_atomically
from claimwright.dra.plugin import DeviceHealth, Plugin, PluginFolders, PreparedDevice
from claimwright.dra.slices import Device, Pool, Version

CONFIG_API_VERSION: Final = "example.claimwright.dev/v1"
_MODES: Final = ("fast", "exact")
_UID: Final = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


class Refusal(Exception):
    """A claim that this driver cannot prepare; the text goes to the kubelet."""


@dataclass(frozen=True, slots=True)
class Held:
    """What a prepared claim holds, as its state file says."""

    devices: tuple[str, ...]
    admin: bool


class ReferenceDriver:
    """Prepares and releases invented devices; both verbs are idempotent."""

    def __init__(self, name: str, pool: str, devices: Sequence[Device], folders: PluginFolders) -> None:
        self.name, self.pool, self.devices, self.folders = name, pool, tuple(devices), folders
        self.state = folders.plugin_dir / "claims"
        self.state.mkdir(mode=0o750, parents=True, exist_ok=True)

    async def prepare(
        self, claims: Sequence[Claim]
    ) -> Mapping[ClaimUid, Sequence[PreparedDevice] | Exception]:
        """Write spec and state of each claim."""
        return {claim.uid: self._answer(claim) for claim in claims}

    async def release(self, claims: Sequence[ClaimReference]) -> Mapping[ClaimUid, Exception | None]:
        """Remove state and spec of each claim; an unknown one is fine."""
        for claim in claims:
            self.forget(claim)
        return dict.fromkeys((claim.uid for claim in claims), None)

    def _answer(self, claim: Claim) -> Sequence[PreparedDevice] | Exception:
        try:
            return self.prepare_one(claim)
        except Refusal as refusal:
            return refusal

    def prepare_one(self, claim: Claim) -> Sequence[PreparedDevice]:
        """Prepare one claim or raise Refusal; a refused claim leaves nothing."""
        results = claim.results_of(self.name)
        for config in claim.configs_of(self.name):
            self.check_config(config.parameters)
        self.check_devices(claim, results)
        write_spec(self.folders.cdi_dir, self.spec(claim, results), transient_id=claim.uid, durable=False)
        names = [result.device for result in results]
        state = {"devices": names, "admin": all(result.admin_access for result in results)}
        write_atomically(self.state / f"{claim.uid}.json", json.dumps(state), mode=0o600, durable=False)
        return [self.prepared(claim, result) for result in results]

    def check_config(self, parameters: Mapping[str, Any]) -> None:
        """Accept an ExampleConfig and refuse anything else, by the name of the field."""
        if parameters.get("apiVersion") != CONFIG_API_VERSION or parameters.get("kind") != "ExampleConfig":
            raise Refusal(
                f"parameters: expected kind ExampleConfig of {CONFIG_API_VERSION}, got {dict(parameters)}"
            )
        for field, value in parameters.items():
            if field not in ("apiVersion", "kind", "mode"):
                raise Refusal(f"parameters.{field}: unknown field; allowed: mode")
            if field == "mode" and value not in _MODES:
                raise Refusal(f"parameters.mode: {value!r}, expected one of {', '.join(_MODES)}")

    def check_devices(self, claim: Claim, results: Sequence[DeviceResult]) -> None:
        """Refuse devices that do not exist or that another claim holds."""
        known = {device.name for device in self.devices}
        taken = {name: uid for uid, held in self.held().items() if not held.admin for name in held.devices}
        for result in results:
            if result.pool != self.pool or result.device not in known:
                raise Refusal(
                    f"device {result.pool}/{result.device} does not exist; known: {', '.join(sorted(known))}"
                )
            if taken.get(result.device, claim.uid) != claim.uid and not result.admin_access:
                raise Refusal(f"device {result.device} is held by claim {taken[result.device]}")

    def held(self) -> dict[str, Held]:
        """Read the state files; one that cannot be read is set aside, never a reason to fail."""
        return {path.stem: held for path in self.state.glob("*.json") if (held := self._read(path))}

    def _read(self, path: Path) -> Held | None:
        try:
            state = json.loads(path.read_bytes())
            return Held(tuple(state["devices"]), bool(state["admin"]))
        except (ValueError, KeyError, TypeError):
            path.replace(path.with_suffix(".broken"))
            return None

    def spec(self, claim: Claim, results: Sequence[DeviceResult]) -> CdiSpec:
        """Return the CDI spec of one claim."""
        return CdiSpec(f"{self.name}/device", tuple(self._cdi_device(claim, result) for result in results))

    def _cdi_device(self, claim: Claim, result: DeviceResult) -> CdiDevice:
        number = result.device.rpartition("-")[2]
        node = DeviceNode(f"/dev/example{number}", host_path="/dev/null", type="c", major=1, minor=3)
        edits = ContainerEdits(env=(f"EXAMPLE_DEVICE={result.device}",), device_nodes=(node,))
        return CdiDevice(self.cdi_name(claim, result), edits)

    def cdi_name(self, claim: Claim, result: DeviceResult) -> str:
        """Return the name of a claim's device in its spec."""
        return f"{claim.uid}-{result.device}"

    def prepared(self, claim: Claim, result: DeviceResult) -> PreparedDevice:
        """Return the kubelet's view of one device."""
        identifier = f"{self.name}/device={self.cdi_name(claim, result)}"
        attributes = next(dict(one.attributes) for one in self.devices if one.name == result.device)
        return PreparedDevice(
            requests=(result.base_request,), pool=result.pool, device=result.device, cdi_ids=(identifier,),
            share_id=result.share_id, attributes=attributes,
        )  # fmt: skip

    def forget(self, claim: ClaimReference) -> None:
        """Remove state and spec of one claim; a uid that is none was never ours, and never becomes a path."""
        if _UID.fullmatch(claim.uid):
            (self.state / f"{claim.uid}.json").unlink(missing_ok=True)
            self.remove_spec(claim.uid)

    def remove_spec(self, uid: str) -> None:
        """Remove the CDI spec of one claim."""
        remove_spec(self.folders.cdi_dir, f"{self.name}/device", transient_id=uid)

    async def watch(self) -> AsyncIterator[Sequence[DeviceHealth]]:
        """Report all devices as healthy, once: invented devices never break."""
        yield [DeviceHealth(pool=self.pool, device=device.name, health="Healthy") for device in self.devices]
        await asyncio.Event().wait()


def example_devices(count: int) -> tuple[Device, ...]:
    """Return the invented devices."""
    return tuple(
        Device(
            f"example-{number}",
            attributes={
                "uuid": f"EX-{number:04d}", "model": "EXAMPLE 1", "driverVersion": Version("1.0.0"),
                "resource.kubernetes.io/numaNode": number % 2,
                "resource.kubernetes.io/pciBusID": f"0000:{number + 1:02x}:00.0",
            },
        )
        for number in range(count)
    )  # fmt: skip


async def serve(arguments: argparse.Namespace, mutation: Mutation) -> None:
    """Run the plugin until a signal asks it to end."""
    ended = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, ended.set)
    folders = PluginFolders(arguments.plugins / arguments.driver_name, arguments.registry, arguments.cdi)
    devices = mutation.devices(example_devices(arguments.devices))
    driver = mutation.driver(arguments.driver_name, arguments.node_name, devices, folders)
    kube = mutation.kube.from_kubeconfig(arguments.kubeconfig, user_agent=f"{arguments.driver_name}/1.0.0")
    pool = Pool(arguments.node_name, devices)
    options = {"metadata": True, "health": driver, **mutation.options}
    plugin = Plugin(
        arguments.driver_name,
        arguments.node_name,
        driver,
        kube=kube,
        folders=folders,
        publish=pool,
        **options,
    )
    apply_to_process(mutation, plugin)
    await plugin.start()
    background = asyncio.create_task(mutation.meanwhile(plugin, pool))
    await ended.wait()
    background.cancel()
    await plugin.stop(grace_seconds=5)
    mutation.stopped(plugin)


def main() -> None:
    """Run the driver; `--mutant` gives it one defect."""
    parser = argparse.ArgumentParser(description="a small DRA driver with invented devices")
    parser.add_argument("--driver-name", default="example.claimwright.dev")
    parser.add_argument("--node-name", required=True)
    parser.add_argument("--kubeconfig", type=Path, required=True)
    for folder in ("registry", "plugins", "cdi"):
        parser.add_argument(f"--{folder}", type=Path, required=True)
    parser.add_argument("--devices", type=int, default=4)
    parser.add_argument("--mutant", default="")
    arguments = parser.parse_args()
    mutation = HONEST
    if arguments.mutant:
        from claimwright.conformance.mutants.zoo import find_mutant  # noqa: PLC0415 - the good driver needs no zoo

        mutation = find_mutant(arguments.mutant).mutation
    asyncio.run(serve(arguments, mutation))


if __name__ == "__main__":
    main()
