"""The kubelet's side as a process of its own, so that its processor time is not the API server's.

    echo REQUEST | python -m claimwright.e2e.kubelet_load

REQUEST is `{"endpoint": socket, "claims": [[namespace, name, uid], …], "rounds": n, "seconds": s, "metrics": url}`.
Each round prepares all claims at once, each in a call of its own, and then releases them at once; after `seconds` no
round begins. Prints `{"prepare": [s, …], "release": [s, …], "seconds": total, "steps": {"prepare": …, "release": …}}`;
with `metrics`, `steps` is what the driver's step metrics grew by, `{"claim/read": [seconds, count], …}`, else empty.
"""

from __future__ import annotations

import asyncio
import json
import re
import sys
import time
import urllib.request
from collections import Counter
from collections.abc import Callable, Coroutine, Mapping, Sequence
from typing import Any, Final, TypeAlias

from claimwright.dra.claims import ClaimReference, ClaimUid
from claimwright.dra.kubelet import PluginClient

Steps: TypeAlias = Mapping[str, tuple[float, float]]
_SERIES: Final = re.compile(
    r"^nvidia_dra_step_duration_seconds_(sum|count)\{.*tool=\"([^\"]+)\",verb=\"([^\"]+)\"\} (\S+)$",
    re.MULTILINE,
)
_METRICS_SECONDS: Final = 10.0


async def run(request: Mapping[str, Any]) -> dict[str, Any]:
    """Do what `request` says."""
    claims = [ClaimReference(space, name, ClaimUid(uid)) for space, name, uid in request["claims"]]
    client = PluginClient(request["endpoint"])
    try:
        return await _rounds(client, claims, request)
    finally:
        await client.close()


async def _rounds(
    client: PluginClient, claims: Sequence[ClaimReference], request: Mapping[str, Any]
) -> dict[str, Any]:
    await _at_once(_released, client, claims)  # connects
    prepares: list[float] = []
    releases: list[float] = []
    took = {"prepare": _Difference(request["metrics"]), "release": _Difference(request["metrics"])}
    began = time.perf_counter()
    for _ in range(request["rounds"]):
        with took["prepare"]:
            prepares += await _at_once(_prepared, client, claims)
        with took["release"]:
            releases += await _at_once(_released, client, claims)
        if time.perf_counter() - began > request["seconds"]:
            break
    seconds = time.perf_counter() - began
    steps = {verb: difference.steps() for verb, difference in took.items()}
    return {"prepare": prepares, "release": releases, "seconds": seconds, "steps": steps}


_Call: TypeAlias = Callable[[PluginClient, ClaimReference], Coroutine[Any, Any, float]]


async def _at_once(call: _Call, client: PluginClient, claims: Sequence[ClaimReference]) -> list[float]:
    return await asyncio.gather(*(call(client, claim) for claim in claims))


async def _prepared(client: PluginClient, claim: ClaimReference) -> float:
    started = time.perf_counter()
    answer = (await client.prepare([claim]))[claim.uid]
    seconds = time.perf_counter() - started
    if isinstance(answer, str):
        raise SystemExit(f"prepare of {claim} failed: {answer}")
    return seconds


async def _released(client: PluginClient, claim: ClaimReference) -> float:
    started = time.perf_counter()
    error = (await client.release([claim]))[claim.uid]
    seconds = time.perf_counter() - started
    if error:
        raise SystemExit(f"release of {claim} failed: {error}")
    return seconds


class _Difference:
    """What the step metrics grew by within its contexts, added up."""

    def __init__(self, url: str | None) -> None:
        self._url = url
        self._sum: Counter[tuple[str, str]] = Counter()

    def __enter__(self) -> None:
        self._before = self._read()

    def __exit__(self, *_: object) -> None:
        for key, value in self._read().items():
            self._sum[key] += value - self._before.get(key, 0.0)  # type: ignore[assignment]  # a counter of seconds

    def steps(self) -> dict[str, tuple[float, float]]:
        names = sorted({name for name, _ in self._sum})
        found = {name: (float(self._sum[name, "sum"]), float(self._sum[name, "count"])) for name in names}
        return {name: (seconds, count) for name, (seconds, count) in found.items() if count}

    def _read(self) -> dict[tuple[str, str], float]:
        if self._url is None:
            return {}
        with urllib.request.urlopen(self._url, timeout=_METRICS_SECONDS) as answer:  # noqa: S310  the driver's own
            text = answer.read().decode()
        return {(f"{tool}/{verb}", what): float(value) for what, tool, verb, value in _SERIES.findall(text)}


def main() -> None:
    """Read the request, run it, print what it took."""
    json.dump(asyncio.run(run(json.load(sys.stdin))), sys.stdout)


if __name__ == "__main__":
    main()
