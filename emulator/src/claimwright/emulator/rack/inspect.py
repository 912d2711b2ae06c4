"""A rack as plain data: who is in the clique, how each tray's nvidia-imex is, and who reaches whom."""

from __future__ import annotations

from typing import Any

from claimwright.emulator import running
from claimwright.emulator.errors import NodeError
from claimwright.emulator.imex import Domain
from claimwright.emulator.rack.domain import domains
from claimwright.emulator.rack.plan import Rack, TraySeat


def describe(rack: Rack) -> dict[str, Any]:
    """Return all of a rack that a program may ask about; a tray that is not up says so and hides no other."""
    seen = domains(rack)
    trays = [_tray(seat, seen[seat.node]) for seat in rack.trays]
    members = [tray["node"] for tray in trays if tray["cliques"] == [rack.clique]]
    states = sorted({domain.state for domain in seen.values() if domain})
    domain = states[0] if len(states) == 1 else "UNSETTLED" if states else "DOWN"
    return {
        "emulated": True,
        "name": rack.name,
        "board": rack.board,
        "cluster_uuid": rack.cluster_uuid,
        "clique_id": rack.clique_id,
        "clique": rack.clique,
        "chassis_serial": rack.chassis_serial,
        "imex": rack.imex,
        "imex_domain": domain,
        "whole": len(members) == len(trays) and (domain == "UP" or not rack.imex),
        "trays": trays,
        "members": members,
        "gpus": sum(len(tray["gpus"]) for tray in trays),
        "imex_links": [_row(seen[seat.node], len(rack.trays)) for seat in rack.trays],
    }


def summary(description: dict[str, Any]) -> list[str]:
    """Return one line for the rack, and one for each tray that is not well."""
    trays, members = description["trays"], description["members"]
    domain = f"IMEX domain {description['imex_domain']}" if description["imex"] else "no IMEX"
    head = (
        f"rack {description['name']} is {'whole' if description['whole'] else 'NOT WHOLE'}: "
        f"{sum(tray['up'] for tray in trays)} of {len(trays)} trays up, {len(members)} in the clique, {domain}"
    )
    return [head, *(line for tray in trays if (line := _trouble(tray, members, imex=description["imex"])))]


def _trouble(tray: dict[str, Any], members: list[str], *, imex: bool) -> str | None:
    said = []
    if not tray["up"]:
        said.append("not up")
    elif tray["node"] not in members:
        said.append("not in the clique")
    if imex and tray["imex"] != "READY":
        said.append(f"nvidia-imex {tray['imex']}")
    return f"  {tray['node']} ({tray['address']}): {', '.join(said)}" if said else None


def nvlink_domain(description: dict[str, Any]) -> list[list[int]]:
    """Return how many NVLinks join each two trays' GPUs: through the rack's switches, those of the weaker end.

    One row per tray; GPUs of another clique, or lost ones, are not joined.
    """
    links = [
        min((gpu["nvlinks_active"] for gpu in tray["gpus"]), default=0)
        if tray["cliques"] == [description["clique"]]
        else 0
        for tray in description["trays"]
    ]
    return [[min(here, there) for there in links] for here in links]


def _tray(seat: TraySeat, domain: Domain | None) -> dict[str, Any]:
    said = {
        "node": seat.node,
        "index": seat.index,
        "slot": seat.slot,
        "address": seat.address,
        "imex": domain.status if domain else "UNAVAILABLE",
    }
    try:
        node = running.load(seat.node).call("snapshot")
    except NodeError:
        return {**said, "up": False, "cliques": [], "gpus": []}
    cliques = {gpu["fabric"]["clique"] for gpu in node["gpus"] if gpu["fabric"]}
    kept = ("index", "uuid", "serial", "lost", "fabric", "nvlinks_active")
    return {
        **said,
        "up": True,
        "cliques": sorted(clique for clique in cliques if clique),
        "gpus": [{key: gpu[key] for key in kept} for gpu in node["gpus"]],
        "nvlink_matrix": node["nvlink_matrix"],
    }


def _row(domain: Domain | None, count: int) -> list[str]:
    return list(domain.nodes[domain.own].links) if domain else ["INVALID"] * count
