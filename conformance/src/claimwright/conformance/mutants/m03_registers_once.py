"""3: the registration socket goes after the first success, so that a restarted kubelet finds nothing."""

from __future__ import annotations

from pathlib import Path

from claimwright.conformance.mutants.mutation import Call, Mutant, Mutation


def _remove_socket(call: Call) -> None:
    if call.method == "NotifyRegistrationStatus" and call.request.plugin_registered:
        Path(call.plugin.registration_path).unlink(missing_ok=True)


MUTANTS = (Mutant("3", "removes its registration socket once registered", Mutation(reply=_remove_socket)),)
