"""What must not leave the vendor's house: secrets, the machine's own names, serial numbers.

Applied to every file of the bundle before it is hashed, so that nobody has to change a hashed file later.
"""

from __future__ import annotations

import re
import socket
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

_ALWAYS: Final = (
    (re.compile(r"eyJ[\w-]{8,}\.eyJ[\w-]{8,}\.[\w-]+"), "[redacted token]"),
    (re.compile(r"(?i)(authorization\W{1,4}bearer\s+)[^\s\"',]+"), r"\1[redacted]"),
    (
        re.compile(r"(?i)(\"?(?:token|password|client-key-data|client-certificate-data)\"?\s*[:=]\s*\"?)(?!\[)[^\s\",}]+"),
        r"\1[redacted]",
    ),
    (re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----.*?-----END [A-Z ]*PRIVATE KEY-----", re.DOTALL), "[redacted key]"),
    (
        re.compile(r"(?i)(\"[\w./-]*serial(?:number)?\"\s*:\s*(?:\{\s*\"string\"\s*:\s*)?\")(?!\[)[^\"]+"),
        r"\1[redacted]",
    ),
    (
        re.compile(
            r"(?i)(^[ \t-]*[\w./-]*serial(?:number)?:[ \t]*(?:\n[ \t]+string:[ \t]*)?)(?!\[|\s)\S+", re.MULTILINE
        ),
        r"\1[redacted]",
    ),
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Redaction:
    """Texts to replace beside the fixed patterns: the longest first, so that a path goes before its part."""

    texts: Sequence[tuple[str, str]] = ()

    def apply(self, text: str) -> str:
        """Return the text without anything of the list; applying it twice changes nothing more."""
        for pattern, replacement in _ALWAYS:
            text = pattern.sub(replacement, text)
        for secret, replacement in self.texts:
            text = text.replace(secret, replacement)
        return text


def machine_redaction() -> Redaction:
    """Return the redaction for this machine: its host name and the user's home folder."""
    found = [(str(Path.home()), "[home]")] if len(str(Path.home())) > 5 else []
    host = socket.gethostname()
    if len(host) > 3 and host != "localhost":
        found.append((host, "[host]"))
    return Redaction(tuple(sorted(found, key=lambda pair: -len(pair[0]))))
