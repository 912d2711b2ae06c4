"""`claimwright driver status`: what the driver holds on this node."""

from __future__ import annotations

from typing import Any

import click

from claimwright.driver.commands import flags


@click.command("status")
@flags.with_flags((*flags.NODE_PATHS, flags.FEATURE_GATES))
@click.option("--json", "as_json", is_flag=True, help="One JSON object instead of tables.")
def status(*, as_json: bool, **given: Any) -> None:  # noqa: ANN401  click's own values
    """Show this node's GPUs, the claims that hold them, and the driver's last errors.

    Reads only, and beside a running driver. Run it where the driver runs, with the driver's flags or environment:

    \b
        kubectl exec -n dra-driver-nvidia-gpu POD -c gpus -- claimwright driver status

    Ends with 1 when the driver does not serve or something could not be read.
    """  # noqa: D301 - click reads the backspace
    from claimwright.dra.errors import DraError
    from claimwright.driver import status as view
    from claimwright.driver.feature_gates import FeatureGates

    try:
        gates = FeatureGates.parse(given["feature_gates"])
    except DraError as error:
        raise click.UsageError(str(error)) from error
    found = view.gather(flags.node_paths(given), gates)
    click.echo(view.as_json(found) if as_json else view.as_text(found), nl=False)
    if found.problems:
        raise SystemExit(1)
