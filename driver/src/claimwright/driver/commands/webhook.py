"""`claimwright driver webhook`: the validating webhook for opaque configs."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import click

from claimwright.driver.commands import flags

_FLAGS = (
    click.option(
        "--tls-cert-file",
        envvar="TLS_CERT_FILE",
        type=click.Path(path_type=Path),
        required=True,
        help="PEM file with the serving certificate; read again when it changes.",
    ),
    click.option(
        "--tls-private-key-file",
        envvar="TLS_PRIVATE_KEY_FILE",
        type=click.Path(path_type=Path),
        required=True,
        help="PEM file with its key.",
    ),
    click.option(
        "--port",
        envvar="PORT",
        type=click.IntRange(0, 65535),
        default=443,
        show_default=True,
        help="Port to listen on; 0 is any free one, which the log names.",
    ),
    flags.FEATURE_GATES,
    flags.LOGGING_FORMAT,
    flags.VERBOSITY,
)


@click.command("webhook")
@flags.with_flags(_FLAGS)
def webhook(**given: Any) -> None:  # noqa: ANN401  click's own values
    """Serve the validating webhook: refuse bad opaque configs when they are written.

    Reviews resourceclaims, resourceclaimtemplates and deviceclasses at /validate-resource-claim-parameters;
    /readyz says ok. Feature gates must be those of the plugin: a sharing strategy whose gate is off is refused.
    Runs until HUP, INT, TERM or QUIT.

    \b
        claimwright driver webhook --tls-cert-file tls.crt --tls-private-key-file tls.key --port 8443
        claimwright driver manifests webhook --webhook-ca ca.crt | kubectl apply -f -
    """  # noqa: D301 - click reads the backspace
    from claimwright.dra.errors import DraError
    from claimwright.driver import logs
    from claimwright.driver.feature_gates import FeatureGates
    from claimwright.driver.webhook import WebhookSettings, run

    try:
        gates = FeatureGates.parse(given["feature_gates"])
    except DraError as error:
        raise click.UsageError(str(error)) from error
    logs.configure(given["logging_format"], given["verbosity"])
    settings = WebhookSettings(given["tls_cert_file"], given["tls_private_key_file"], given["port"], gates)
    try:
        asyncio.run(run(settings))
    except DraError as error:
        raise click.ClickException(str(error)) from error
