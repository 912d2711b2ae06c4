"""`claimwright driver preflight`: whether this node and the cluster are as the driver needs."""

from __future__ import annotations

from typing import Any

import click

from claimwright.driver.commands import flags


@click.command("preflight")
@click.option("--node-name", envvar="NODE_NAME", default=None, help="Name of this Node in the cluster.")
@flags.with_flags((flags.KUBECONFIG, *flags.NODE_PATHS, flags.FEATURE_GATES))
@click.option("--json", "as_json", is_flag=True, help="One JSON object instead of a table.")
def preflight(*, as_json: bool, **given: Any) -> None:  # noqa: ANN401  click's own values
    """Check this node and the cluster before the driver is installed: a table, and what to do.

    Looks at kernel modules, IOMMU, driver root, NVML and its version, device nodes, CDI in the container runtime, the
    folders that the driver writes to, the cluster's version, API and features, and device plugins that own the same
    GPUs. Changes nothing. Ends with 1 when the driver cannot work so; warnings alone end with 0.

    \b
        claimwright driver preflight --node-name node-a --kubeconfig ~/.kube/config
        claimwright driver preflight --feature-gates PassthroughSupport=true --json
    """  # noqa: D301 - click reads the backspace
    from claimwright.dra.errors import DraError
    from claimwright.driver import preflight as checks
    from claimwright.driver.feature_gates import FeatureGates

    try:
        gates = FeatureGates.parse(given["feature_gates"])
    except DraError as error:
        raise click.UsageError(str(error)) from error
    paths = flags.node_paths(given)
    if not paths.host_root.is_dir():
        raise click.BadParameter(f"--host-root {str(paths.host_root)!r} is no folder")
    findings = tuple(
        checks.look(paths, gates, node_name=given["node_name"] or None, kubeconfig=given["kubeconfig"])
    )
    click.echo(checks.as_json(findings) if as_json else checks.as_text(findings), nl=False)
    if checks.verdict(findings) is checks.Level.FAIL:
        raise SystemExit(1)
