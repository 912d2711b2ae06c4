"""10: a CDI id that nothing defines, a spec that comes after the answer, a spec of an unknown version."""

from __future__ import annotations

import asyncio
from pathlib import Path

from claimwright.conformance.mutants.mutation import Call, Mutant, Mutation

LATE_SECONDS = 0.4


def _unresolvable(call: Call) -> None:
    if call.method == "NodePrepareResources":
        for entry in call.reply.claims.values():
            for device in entry.devices:
                device.cdi_device_ids[:] = [f"{one}-missing" for one in device.cdi_device_ids]


def _late(call: Call) -> None:
    for path in _specs(call):
        content = path.read_bytes()
        path.unlink()
        asyncio.get_running_loop().call_later(LATE_SECONDS, path.write_bytes, content)


def _unknown_version(call: Call) -> None:
    for path in _specs(call):
        lines = path.read_text().splitlines()
        path.write_text("\n".join("cdiVersion: 9.9.9" if "cdiVersion" in line else line for line in lines))


def _specs(call: Call) -> list[Path]:
    """Return the claim's own specs; those of metadata stay as they are."""
    if call.method != "NodePrepareResources":
        return []
    uids = [claim.uid for claim in call.request.claims]
    specs = call.plugin.folders.cdi_dir.glob("*.yaml")
    return [path for path in specs if any(path.stem.endswith(f"-device_{uid}") for uid in uids)]


MUTANTS = (
    Mutant("10a", "gives a CDI id that no spec defines", Mutation(reply=_unresolvable)),
    Mutant("10b", "writes the CDI spec after the answer", Mutation(reply=_late)),
    Mutant("10c", "writes a CDI spec of an unknown version", Mutation(reply=_unknown_version)),
)
