"""`claimwright driver manifests`: what a cluster needs for the driver, as YAML."""

from __future__ import annotations

from pathlib import Path

import click


@click.command("manifests")
@click.argument("parts", nargs=-1)
@click.option("--namespace", default=None, help="Namespace of the driver.")
@click.option("--image", default=None, help="Image of the driver.")
@click.option(
    "--webhook-ca",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="For part webhook: PEM of the authority that signs its serving certificate.",
)
def manifests(
    parts: tuple[str, ...], namespace: str | None, image: str | None, webhook_ca: Path | None
) -> None:
    """Print the YAML that installs the driver: all of it, or the PARTS named.

    Parts: namespace, deviceclasses, rbac, admissionpolicy, daemonset, networkpolicy; and, by name only, crds (of
    ComputeDomains) and webhook, which serves with the certificate of Secret dra-driver-nvidia-gpu-webhook-tls.

    They are the Helm chart's objects with its default values; other values need the chart.

    \b
        claimwright driver manifests --image registry.example.com/driver:1 | kubectl apply -f -
        claimwright driver manifests deviceclasses rbac
        claimwright driver manifests webhook --webhook-ca ca.crt
    """  # noqa: D301 - click reads the backspace
    from claimwright.driver import manifests as bundle
    from claimwright.driver.errors import DriverError

    known = (*bundle.PARTS, *bundle.OPTIONAL_PARTS)
    unknown = [part for part in parts if part not in known]
    if unknown:
        raise click.BadParameter(f"unknown part {unknown[0]!r}; parts are {', '.join(known)}")
    try:
        text = bundle.render(
            parts or bundle.PARTS,
            namespace=namespace or bundle.NAMESPACE,
            image=image or bundle.IMAGE,
            webhook_ca=webhook_ca.read_text(errors="replace") if webhook_ca else "",
        )
    except DriverError as error:
        raise click.ClickException(str(error)) from error
    click.echo(text, nl=False)
