"""`claimwright driver manifests`: what a cluster needs for the driver, as YAML."""

from __future__ import annotations

import click


@click.command("manifests")
@click.argument("parts", nargs=-1)
@click.option("--namespace", default=None, help="Namespace of the driver.")
@click.option("--image", default=None, help="Image of the driver.")
def manifests(parts: tuple[str, ...], namespace: str | None, image: str | None) -> None:
    """Print the YAML that installs the driver: all of it, or the PARTS named.

    Parts: namespace, deviceclasses, rbac, admissionpolicy, daemonset, networkpolicy.

    They are the Helm chart's objects with its default values; other values need the chart.

    \b
        claimwright driver manifests --image registry.example.com/driver:1 | kubectl apply -f -
        claimwright driver manifests deviceclasses rbac
    """  # noqa: D301 - click reads the backspace
    from claimwright.driver import manifests as bundle
    from claimwright.driver.errors import DriverError

    unknown = [part for part in parts if part not in bundle.PARTS]
    if unknown:
        raise click.BadParameter(f"unknown part {unknown[0]!r}; parts are {', '.join(bundle.PARTS)}")
    try:
        text = bundle.render(
            parts or bundle.PARTS, namespace=namespace or bundle.NAMESPACE, image=image or bundle.IMAGE
        )
    except DriverError as error:
        raise click.ClickException(str(error)) from error
    click.echo(text, nl=False)
