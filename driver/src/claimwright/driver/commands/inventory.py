"""`claimwright driver inventory`: device classes and claim templates for the GPUs found."""

from __future__ import annotations

from typing import Any

import click

from claimwright.driver.commands import flags


@click.command("inventory")
@flags.with_flags(flags.NODE_PATHS)
@click.option("--namespace", default=None, help="Namespace of the claim templates.")
@click.option(
    "--json", "as_json", is_flag=True, help="One JSON object with GPUs and proposals instead of YAML."
)
def inventory(*, namespace: str | None, as_json: bool, **given: Any) -> None:  # noqa: ANN401  click's own values
    """Propose DeviceClasses and ResourceClaimTemplates for the GPUs of this node.

    One class for each kind of device that the driver can make of them, one template for each way to use it: whole,
    time-slicing, MPS, each MIG profile and vGPU type, passthrough. Comments name the feature gates that it needs.

    \b
        claimwright driver inventory > classes.yaml        # on a GPU node; read it, keep what you want
        kubectl apply -n team-a -f classes.yaml
    """  # noqa: D301 - click reads the backspace
    import re

    from claimwright.dra.errors import DraError
    from claimwright.driver import proposals
    from claimwright.driver.node_view import read_claims, read_inventory
    from claimwright.driver.ownership import is_own, is_own_vgpu
    from claimwright.driver.repertoire import recipes

    if namespace is not None and not re.fullmatch(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?", namespace):
        raise click.BadParameter(
            f"--namespace {namespace!r}: expected lower-case letters, digits and dashes, at most 63"
        )
    try:
        paths = flags.node_paths(given)
        entries = read_claims(paths).values()
        found = read_inventory(paths, is_own(entries), is_own_vgpu(entries))
    except DraError as error:
        raise click.ClickException(str(error)) from error
    proposed = proposals.propose(found, recipes)
    render = proposals.as_json if as_json else proposals.as_yaml
    click.echo(render(found, proposed, namespace=namespace), nl=False)
