"""Settings that make no sense are refused by the flag's name, before anything is touched."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

from claimwright.driver.commands import driver
from claimwright.driver.commands.gpu_plugin import gpu_plugin


def start(*flags: str) -> tuple[int, str]:
    answered = CliRunner().invoke(driver, ["gpu-plugin", "--node-name=node-a", *flags])
    return answered.exit_code, answered.output


@pytest.mark.parametrize(
    ("flag", "says"),
    [
        pytest.param(
            "--host-root=/no/such/folder", "--host-root '/no/such/folder' is no folder", id="host root"
        ),
        pytest.param("--node-name=A/B", "--node-name 'A/B': expected a Node's name", id="node name"),
        pytest.param("--node-name=", "--node-name '': expected a Node's name", id="empty node name"),
        pytest.param("--kubeconfig=/no/such/file", "'/no/such/file' does not exist", id="kubeconfig"),
        pytest.param("--feature-gates=Nope=true", "Nope", id="feature gate"),
        pytest.param("--consumable-shares=foo", "--consumable-shares 'foo'", id="shares"),
        pytest.param("--http-endpoint=foo", "--http-endpoint 'foo'", id="endpoint"),
        pytest.param("--additional-xids-to-ignore=13,a", "'a' is no XID", id="xid"),
        pytest.param("--additional-xids-to-ignore=0", "'0' is no XID", id="xid 0"),
        pytest.param("--cdi-root=/proc/x", "--cdi-root '/proc/x'", id="cdi root in proc"),
        pytest.param("--cdi-root=cdi", "--cdi-root 'cdi'", id="relative cdi root"),
        pytest.param("--healthcheck-port=70000", "--healthcheck-port 70000", id="port"),
    ],
)
def test_a_flag_that_makes_no_sense_is_refused_by_name_as_a_usage_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, flag: str, says: str
) -> None:
    monkeypatch.delenv("KUBECONFIG", raising=False)

    code, output = start(f"--host-root={tmp_path}", flag)

    assert code == 2
    assert says in output


@pytest.mark.parametrize(
    ("variable", "flags", "path"),
    [
        (None, [], "/metrics"),
        ("", [], ""),
        ("/m", [], "/m"),
        ("", ["--metrics-path=/x"], "/x"),
        ("/m", ["--metrics-path="], ""),
    ],
)
def test_an_empty_metrics_path_switches_metrics_off_wherever_it_is_given(
    monkeypatch: pytest.MonkeyPatch, variable: str | None, flags: list[str], path: str
) -> None:
    monkeypatch.delenv("METRICS_PATH", raising=False)
    if variable is not None:
        monkeypatch.setenv("METRICS_PATH", variable)

    context = gpu_plugin.make_context("gpu-plugin", ["--node-name=node-a", *flags])

    assert context.params["metrics_path"] == path
