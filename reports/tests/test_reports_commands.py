from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from claimwright.reports.commands import report
from claimwright.reports.errors import ManifestError
from claimwright.reports.measuring.manifests import read_template


def invoke(*arguments: object) -> Result:
    return CliRunner().invoke(report, [str(argument) for argument in arguments])


def measure(tmp_path: Path, *more: object) -> Result:
    (tmp_path / "registry").mkdir(exist_ok=True)
    usual = ("--kubeconfig", tmp_path / "kubeconfig", "--node", "n", "--registry-dir", tmp_path / "registry")
    return invoke("measure", *usual, *more)


def test_render_writes_the_page_and_its_companions(tmp_path: Path, write_run: Callable[..., Path]) -> None:
    result = invoke("render", write_run(prepares=20, pods=3).parent, "--out", tmp_path / "deep" / "r.html")
    assert result.exit_code == 0, result.output
    assert {path.name for path in (tmp_path / "deep").iterdir()} == {"r.html", "r.json", "r.txt", "r.bench"}
    assert "hardware: emulated" in result.output


def test_render_prints_the_json_that_it_writes(tmp_path: Path, write_run: Callable[..., Path]) -> None:
    result = invoke("render", write_run(prepares=20, pods=3), "--out", tmp_path / "r.html", "--json")
    assert json.loads(result.stdout) == json.loads((tmp_path / "r.json").read_text())


@pytest.mark.parametrize("arguments", [(), ("nowhere.jsonl",)], ids=["nothing", "missing"])
def test_render_without_samples_says_what_to_do(arguments: tuple[str, ...]) -> None:
    result = invoke("render", *arguments)
    assert result.exit_code == 2
    assert result.output.startswith("Error: ")
    assert "Traceback" not in result.output


def test_render_refuses_to_mix_and_writes_nothing(tmp_path: Path, write_run: Callable[..., Path]) -> None:
    write_run("a", prepares=5, pods=1)
    folder = write_run("b", hardware="real", prepares=5, pods=1).parent
    result = invoke("render", folder, "--out", tmp_path / "r.html")
    assert result.exit_code == 2
    assert "emulated and real hardware do not share a report" in result.output
    assert not (tmp_path / "r.html").exists()


def test_metrics_lists_the_ids_with_their_definitions() -> None:
    listed = invoke("metrics").output
    assert "L-START  Pod creation until it runs, by phase" in listed
    assert {entry["id"] for entry in json.loads(invoke("metrics", "--json").output)} >= {"L-PUB", "R-MEM"}


def test_measure_wants_to_know_the_hardware(tmp_path: Path) -> None:
    result = measure(tmp_path)
    assert result.exit_code == 2
    assert "say --emulated or --real" in result.output


def test_measure_takes_a_running_driver_or_a_command_not_both(tmp_path: Path) -> None:
    result = measure(tmp_path, "--emulated", "--driver-pid", 1, "--driver-command", "x")
    assert result.exit_code == 2
    assert "give one of them" in result.output


@pytest.mark.parametrize("command", ["", "'open"], ids=["empty", "open quote"])
def test_measure_refuses_a_command_that_is_none(tmp_path: Path, command: str) -> None:
    result = measure(tmp_path, "--emulated", "--driver-command", command)
    assert result.exit_code == 2
    assert "--driver-command" in result.output


def test_measure_names_a_kubeconfig_that_is_not_there(tmp_path: Path) -> None:
    result = measure(tmp_path, "--emulated")
    assert result.exit_code == 2
    assert str(tmp_path / "kubeconfig") in result.output


def test_measure_names_a_cluster_that_does_not_answer(tmp_path: Path) -> None:
    cluster = {"name": "c", "cluster": {"server": "http://127.0.0.1:1"}}
    context = {"name": "x", "context": {"cluster": "c", "user": "u"}}
    config = {"apiVersion": "v1", "kind": "Config", "clusters": [cluster], "contexts": [context]}
    config |= {"users": [{"name": "u", "user": {}}], "current-context": "x"}
    (tmp_path / "kubeconfig").write_text(json.dumps(config))
    result = measure(tmp_path, "--emulated", "--out", tmp_path / "out")
    assert result.exit_code == 1
    assert "cannot reach the cluster" in result.output
    assert "127.0.0.1:1" in result.output
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("command", ["measure", "render", "metrics"])
def test_help_teaches(command: str) -> None:
    result = invoke(command, "--help")
    assert result.exit_code == 0
    assert "--json" in result.output


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path, write_run: Callable[..., Path]) -> None:
    (tmp_path / "file").write_text("")
    result = invoke("render", write_run(prepares=5, pods=1), "--out", tmp_path / "file" / "r.html")
    assert result.exit_code == 2
    assert str(tmp_path / "file") in result.output
    assert "Traceback" not in result.output


def test_render_without_words_asks_for_samples() -> None:
    assert "name the samples" in invoke("render").output


@pytest.mark.parametrize("content", [b"\x93\xff", b"a: [", b"", b"- 1"])
def test_rubbish_in_place_of_a_pod_manifest_is_named(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "pod.yaml"
    path.write_bytes(content)
    with pytest.raises(ManifestError, match=r"pod\.yaml"):
        read_template(path)
