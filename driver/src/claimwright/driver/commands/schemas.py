"""`claimwright driver schemas`: what opaque configs may say, as JSON Schema."""

from __future__ import annotations

from pathlib import Path

import click


@click.command("schemas")
@click.argument("kind", required=False)
@click.option(
    "--output", type=click.Path(path_type=Path, file_okay=False), help="Write KIND.json files there."
)
@click.option(
    "--check",
    type=click.Path(path_type=Path, file_okay=False, exists=True),
    help="Fail when files there are not current.",
)
def schemas(kind: str | None, output: Path | None, check: Path | None) -> None:
    """Print the JSON Schema of one KIND of opaque config, or write or check all of them.

    \b
        claimwright driver schemas                         # the kinds there are
        claimwright driver schemas GpuConfig
        claimwright driver schemas --output docs/configs
    """  # noqa: D301 - click reads the backspace
    from claimwright.driver.configs import schemas as published
    from claimwright.driver.configs.kinds import KINDS

    if sum(given is not None for given in (kind, output, check)) > 1:
        raise click.UsageError("give a KIND, --output or --check, one of them")
    if kind is not None and kind not in KINDS:
        raise click.BadParameter(f"unknown kind {kind!r}; kinds are {', '.join(KINDS)}")
    if output is not None:
        try:
            for path in published.write(output):
                click.echo(f"wrote {path}")
        except OSError as error:
            raise click.ClickException(
                f"--output {output}: {error.strerror}; name a folder to write in"
            ) from error
    elif check is not None:
        if stale := published.stale(check):
            names = ", ".join(path.name for path in stale)
            raise click.ClickException(
                f"not current in {check}: {names}; run claimwright driver schemas --output {check}"
            )
    elif kind is not None:
        click.echo(published.text_of(KINDS[kind]), nl=False)
    else:
        for name, each in KINDS.items():
            click.echo(f"{name}  {each.api_version}  {each.driver}")
