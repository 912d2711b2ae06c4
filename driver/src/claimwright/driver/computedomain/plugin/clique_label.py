"""The node label that tells the clique to schedulers and people: set while the plugin runs, removed when it stops."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from contextlib import suppress
from typing import Final

from claimwright.dra.kube import NODES, Kube, KubeError

logger = logging.getLogger(__name__)
LABEL: Final = "nvidia.com/gpu.clique"
_REMOVE_SECONDS: Final = 5.0


class CliqueLabel:
    """Sets the label of one node; without a clique there is none."""

    def __init__(self, kube: Kube, node: str, clique: Callable[[], str]) -> None:
        self._kube = kube
        self._node = node
        self._clique = clique

    async def refresh(self) -> None:
        """Set it as the clique is now; a failure is logged, the next refresh tries again."""
        await asyncio.to_thread(self._set, self._clique() or None)

    async def remove(self) -> None:
        """Remove it, in five seconds at most."""
        with suppress(TimeoutError):
            await asyncio.wait_for(asyncio.to_thread(self._set, None), _REMOVE_SECONDS)

    def _set(self, value: str | None) -> None:
        try:
            self._kube.patch(NODES, self._node, {"metadata": {"labels": {LABEL: value}}})
        except KubeError as error:
            logger.warning("label %s of node %s cannot be set to %r: %s", LABEL, self._node, value, error)
