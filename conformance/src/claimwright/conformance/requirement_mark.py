"""The mark that ties a check to its requirement."""

from __future__ import annotations

import pytest


def requirement(identifier: str) -> pytest.MarkDecorator:
    """Mark a check as the judge of one requirement."""
    return pytest.mark.requirement(identifier)
