"""`claimwright driver image`: the driver's container image, made without a container engine."""

from __future__ import annotations

from pathlib import Path

import click


@click.command("image")
@click.option(
    "--output", type=click.Path(path_type=Path, dir_okay=False), help="The tar to write, in the OCI layout."
)
@click.option(
    "--tree",
    type=click.Path(path_type=Path, file_okay=False),
    help="Write the file system into this empty folder instead; a Dockerfile copies it.",
)
@click.option("--reference", default=None, help="The image's name.  [default: claimwright/driver:VERSION]")
def image(output: Path | None, tree: Path | None, reference: str | None) -> None:
    """Compose the driver's image from the Python that runs this command: no engine, no registry.

    The same environment gives the same bytes. Engines, containerd and registry tools take the tar:

    \b
        claimwright driver image --output driver.tar
        ctr --namespace k8s.io images import driver.tar
        skopeo copy oci-archive:driver.tar docker://registry.example.com/driver:1
    """  # noqa: D301 - click reads the backspace
    from claimwright.driver import image as bundle
    from claimwright.driver.errors import DriverError

    if (output is None) == (tree is None):
        raise click.UsageError("give --output FILE for a tar, or --tree FOLDER for a folder")
    try:
        if tree is not None:
            bundle.write_tree(tree)
        if output is not None:
            bundle.write_image(output, reference=reference or bundle.REFERENCE)
    except (DriverError, OSError) as error:
        raise click.ClickException(str(error)) from error
    click.echo(f"wrote {output or tree}")
