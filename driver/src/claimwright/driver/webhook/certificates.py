"""The serving certificate, read again when its files change, so that a renewal needs no restart."""

from __future__ import annotations

import logging
import os
import ssl
import time
from pathlib import Path
from typing import Final

from claimwright.driver.errors import NodeUnusable

logger = logging.getLogger(__name__)
_LOOK_SECONDS: Final = 1.0
Stamp = tuple[tuple[int, int, int], ...]


class ServingCertificate:
    """A certificate and its key in PEM files; what is on the disk when a connection begins counts.

    A pair that does not fit together is what the middle of a renewal looks like: the former one serves on.
    """

    def __init__(self, certificate: Path, key: Path) -> None:
        self._certificate, self._key = certificate, key
        self._stamp = self._read_stamp()
        self._current = self._load()
        self._next_look = 0.0

    def context(self) -> ssl.SSLContext:
        """Return the context to listen with; connections switch to the current certificate."""
        listening = _context()
        self._load_into(listening)
        listening.sni_callback = self._choose
        return listening

    def _choose(self, connection: ssl.SSLObject, _name: str, _listening: ssl.SSLContext) -> None:
        self._renew()
        connection.context = self._current

    def _renew(self) -> None:
        if time.monotonic() < self._next_look:
            return
        self._next_look = time.monotonic() + _LOOK_SECONDS
        try:
            stamp = self._read_stamp()
            if stamp == self._stamp:
                return
            self._current = self._load()
        except NodeUnusable as error:
            logger.error("%s; serving on with the former certificate", error)  # noqa: TRY400  the text is all
            return
        self._stamp = stamp
        logger.info("serving with the new certificate %s", self._certificate)

    def _read_stamp(self) -> Stamp:
        try:
            found = [os.stat(path) for path in (self._certificate, self._key)]  # noqa: PTH116  two at once
        except OSError as error:
            raise NodeUnusable(
                f"{error.filename}: {error.strerror}; see --tls-cert-file and --tls-private-key-file"
            ) from error
        return tuple((each.st_ino, each.st_mtime_ns, each.st_size) for each in found)

    def _load(self) -> ssl.SSLContext:
        context = _context()
        self._load_into(context)
        return context

    def _load_into(self, context: ssl.SSLContext) -> None:
        try:
            # A key with a passphrase must not make the process ask for it.
            context.load_cert_chain(self._certificate, self._key, password=lambda: "")
        except (OSError, ValueError) as error:
            raise NodeUnusable(
                f"--tls-cert-file {self._certificate} and --tls-private-key-file {self._key}: "
                f"expected a PEM certificate and its key without passphrase ({error})"
            ) from error


def _context() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context
