"""Write the plain manifests from the chart: `python driver/tools/render_manifests.py [--check]`.

Needs `helm` on PATH, or in this project's cache (`claimwright cluster build --program helm`).
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from claimwright.cluster import versions
from claimwright.cluster.binaries import Sources, provision
from claimwright.cluster.progress import for_stream

DRIVER = Path(__file__).parents[1]
CHART = DRIVER / "chart"
MANIFESTS = DRIVER / "src/claimwright/driver/manifests"
NAME = "dra-driver-nvidia-gpu"
WEBHOOK = (
    "--set",
    "webhook.enabled=true,webhook.tls.mode=secret,webhook.tls.secret.caBundle=CERTIFICATE-AUTHORITY",
)
HEADER = "# The chart driver/chart with its default values, written by driver/tools/render_manifests.py.\n"
_SOURCE = re.compile(r"^# Source: [^\n]*/templates/([\w-]+)\.yaml\n", re.MULTILINE)


def rendered(helm: Path) -> dict[str, str]:
    """Return each template's objects as one YAML text, by the template's name."""
    # The webhook is off by default, and its certificate would be another one every time.
    return {**_parts(helm, ()), "webhook": _parts(helm, WEBHOOK)["webhook"], "crds": definitions()}


def definitions() -> str:
    """Return the custom resource definitions, which helm installs as they are."""
    texts = [path.read_text() for path in sorted((CHART / "crds").glob("*.yaml"))]
    return HEADER + "---\n".join(texts)


def _parts(helm: Path, flags: Sequence[str]) -> dict[str, str]:
    text = subprocess.run(
        [helm, "template", NAME, CHART, "--namespace", NAME, *flags],
        check=True, capture_output=True, text=True, timeout=60,
    ).stdout  # fmt: skip
    parts: dict[str, list[str]] = {}
    for document in re.split(r"^---\n", text, flags=re.MULTILINE):
        if (source := _SOURCE.match(document)) and (body := document[source.end() :].strip()):
            parts.setdefault(source[1], []).append(body + "\n")
    return {name: HEADER + "---\n".join(bodies) for name, bodies in sorted(parts.items())}


def main() -> int:
    """Write the manifests, or compare them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--check", action="store_true", help="change nothing; status 1 when something differs"
    )
    check = parser.parse_args().check
    newest = versions.kubernetes_version(versions.DEFAULT_MINOR)
    different = []
    for name, text in rendered(provision(["helm"], newest, Sources(), for_stream())["helm"]).items():
        place = MANIFESTS / f"{name}.yaml"
        if not place.exists() or place.read_text() != text:
            different.append(name)
            if not check:
                place.write_text(text)
    print(f"{'differ' if check else 'written'}: {', '.join(different) or 'none'}")
    return int(check and bool(different))


if __name__ == "__main__":
    sys.exit(main())
