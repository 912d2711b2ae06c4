"""Writes sections of a node profile as the YAML that people read."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import yaml


class Hex(int):
    """A number that is an id: written 0x1021."""


class _Writer(yaml.SafeDumper):
    """Writes ids in hex, and nothing by reference."""

    def ignore_aliases(self, data: object) -> bool:
        """Write equal values in full: profiles are read from top to bottom."""
        del data
        return True


def _hex(writer: yaml.SafeDumper, number: Hex) -> yaml.ScalarNode:
    return writer.represent_scalar("tag:yaml.org,2002:int", f"0x{int(number):04X}")


_Writer.add_representer(Hex, _hex)


def profile_text(sections: Mapping[str, Any]) -> str:
    """Return the text of a profile."""
    return yaml.dump(dict(sections), Dumper=_Writer, sort_keys=False, default_flow_style=None, width=110)
