"""List the capabilities that no test names yet: `python -m claimwright.e2e.capabilities`."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable
from pathlib import Path

IDENTIFIER = re.compile(r"^\| (\d{3}-\d{2}) \| (.*?) \|", re.MULTILINE)
MARKER = re.compile(r'capability\(\s*"(\d{3}-\d{2})"')


def catalogue(text: str) -> dict[str, str]:
    """Read the table of `docs/capabilities.md`: id → capability."""
    return dict(IDENTIFIER.findall(text))


def named_by_tests(sources: Iterable[str]) -> frozenset[str]:
    """Collect the ids that markers in test sources name."""
    return frozenset(found for source in sources for found in MARKER.findall(source))


def main() -> int:
    """Print the ids without a test; return 1 when a test names an id that the catalogue does not know."""
    root = Path.cwd()
    known = catalogue((root / "docs" / "capabilities.md").read_text())
    tests = [path for pattern in ("*/tests/**/*.py", "e2e/scenarios/**/*.py") for path in root.glob(pattern)]
    named = named_by_tests(path.read_text() for path in tests)
    for identifier, capability in known.items():
        if identifier not in named:
            print(f"{identifier}  {capability}")
    print(f"{len(named & known.keys())} of {len(known)} capabilities are named by a test")
    if unknown := sorted(named - known.keys()):
        print(
            f"tests name ids that docs/capabilities.md does not have: {', '.join(unknown)}", file=sys.stderr
        )
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
