"""The command line: `claimwright driver …`. What a command works with is imported when it runs, not before."""

from __future__ import annotations

import click

from claimwright.driver.commands.compute_domain_controller import compute_domain_controller
from claimwright.driver.commands.compute_domain_daemon import compute_domain_daemon
from claimwright.driver.commands.compute_domain_plugin import compute_domain_plugin
from claimwright.driver.commands.gpu_plugin import gpu_plugin
from claimwright.driver.commands.image import image
from claimwright.driver.commands.inventory import inventory
from claimwright.driver.commands.manifests import manifests
from claimwright.driver.commands.preflight import preflight
from claimwright.driver.commands.schemas import schemas
from claimwright.driver.commands.status import status
from claimwright.driver.commands.webhook import webhook

__all__ = ["driver"]


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def driver() -> None:
    """Run the GPU driver, look at what it works with, or print what a cluster needs for it."""


for _command in (
    compute_domain_daemon,
    compute_domain_controller,
    compute_domain_plugin,
    gpu_plugin,
    image,
    inventory,
    manifests,
    preflight,
    schemas,
    status,
    webhook,
):
    driver.add_command(_command)
