"""The profiles that come with the emulator, and those that users write."""

from __future__ import annotations

from difflib import get_close_matches
from functools import cache
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path

from claimwright.emulator.errors import UnknownProfile
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


@cache
def load_node_profile(name: str) -> NodeProfile:
    """Return a node profile by key; UnknownProfile names the closest."""
    return parse_profile(NodeProfile, _find("nodes", name).read_text(encoding="utf-8"), f"nodes/{name}.yaml")


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
