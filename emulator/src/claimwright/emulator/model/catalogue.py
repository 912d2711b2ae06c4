"""The profiles that come with the emulator, and those that users write."""

from __future__ import annotations

import json
from collections.abc import Mapping
from difflib import get_close_matches
from functools import cache
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any

from claimwright.emulator.errors import ProfileError, UnknownProfile
from claimwright.emulator.model.board import Board
from claimwright.emulator.model.node_profile import NodeProfile
from claimwright.emulator.model.profile_text import parse_profile, read_file

_PACKAGE = "claimwright.emulator"
_NOUNS = {"boards": "board", "nodes": "node profile"}


def board_names() -> tuple[str, ...]:
    """Return the keys of all boards, sorted."""
    return tuple(sorted(_texts("boards")))


def node_names() -> tuple[str, ...]:
    """Return the keys of all node profiles, sorted."""
    return tuple(sorted(_texts("nodes")))


@cache
def load_board(name: str) -> Board:
    """Return a board by key; UnknownProfile names the closest."""
    return parse_profile(Board, _find("boards", name).read_text(encoding="utf-8"), f"boards/{name}.yaml")


def varied_board(like: str, key: str, differs: Mapping[str, object]) -> Board:
    """Return a known board with other values in some fields, by dotted name, under a key of its own.

    ProfileError names the field that the result is wrong in.
    """
    data = _plain("boards", like)
    for path, value in differs.items():
        *parents, last = path.split(".")
        section = data
        for name in parents:
            section = section.setdefault(name, {})
            if not isinstance(section, dict):
                raise ProfileError(f"board {key}: {path!r} names no field: {name!r} has no parts")
        section[last] = value
    data["unverified"] = [each for each in data.get("unverified", []) if not _said(each, differs)]
    return parse_profile(Board, json.dumps({**data, "key": key}), f"board {key} (like {like})")


def _said(path: str, differs: Mapping[str, object]) -> bool:
    """Tell whether a variant replaces a field, or the section it is in."""
    return any(f"{path}.".startswith(f"{replaced}.") for replaced in differs)


def find_node_profile(name: str) -> None:
    """Do nothing where `load_node_profile` knows the name; UnknownProfile names the closest."""
    if name not in _texts("boards"):
        _find("nodes", name)


@cache
def load_node_profile(name: str) -> NodeProfile:
    """Return a node profile by key, or a workstation with the board of that key; UnknownProfile names the closest."""
    if name not in _texts("nodes") and name in _texts("boards"):
        return _workstation(load_board(name))
    return parse_profile(NodeProfile, _find("nodes", name).read_text(encoding="utf-8"), f"nodes/{name}.yaml")


def _workstation(board: Board) -> NodeProfile:
    """Put one board where another is: into the L4's workstation, or the GH200's server when its memory is coherent."""
    like, there = ("gh200", "gh200-96") if board.coherent_memory else ("l4", "l4")
    data = _plain("nodes", like)
    data["key"], data["title"] = board.key, f"One {board.name}"
    data["machine"]["product"] = f"Emulated machine with one {board.name}"
    data["pcie"] = json.loads(json.dumps(data["pcie"]).replace(f' {there}":', f' {board.key}":'))
    return parse_profile(NodeProfile, json.dumps(data), f"node of board {board.key}")


def _plain(folder: str, name: str) -> dict[str, Any]:
    """Return a profile of the catalogue as YAML has it, unchecked."""
    import yaml  # noqa: PLC0415 - slow to load, and a node process reads no profile

    data: dict[str, Any] = yaml.load(
        _find(folder, name).read_text(encoding="utf-8"),
        Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader),  # noqa: S506 - safe, and fast where it can be
    )
    return data


def read_node_profile(path: Path) -> NodeProfile:
    """Read a node profile that a user wrote."""
    return parse_profile(NodeProfile, read_file(path), str(path))


def closest(name: str, known: tuple[str, ...]) -> str:
    """Return the end of an error message: the closest match if any, and all known names."""
    near = get_close_matches(name.lower(), known, n=1, cutoff=0.4)
    guess = f"did you mean {near[0]!r}? " if near else ""
    return f"{guess}known: {', '.join(known)}"


def _find(folder: str, name: str) -> Traversable:
    texts = _texts(folder)
    if name not in texts:
        raise UnknownProfile(f"there is no {_NOUNS[folder]} {name!r}; {closest(name, tuple(sorted(texts)))}")
    return texts[name]


def _texts(folder: str) -> dict[str, Traversable]:
    found = files(_PACKAGE).joinpath(folder).iterdir()
    return {text.name.removesuffix(".yaml"): text for text in found if text.name.endswith(".yaml")}
