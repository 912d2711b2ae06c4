"""The command's door: exit codes and clear errors, without a cluster."""

from __future__ import annotations

import json
from importlib.resources import files

import pytest
from click.testing import CliRunner

from claimwright.conformance.commands import conformance
from claimwright.conformance.registry import load_registry

_DEAD = """
apiVersion: v1
kind: Config
current-context: x
clusters: [{name: c, cluster: {server: "http://127.0.0.1:1"}}]
contexts: [{name: x, context: {cluster: c, user: u}}]
users: [{name: u, user: {}}]
"""


@pytest.fixture
def command(monkeypatch, tmp_path):
    monkeypatch.delenv("KUBECONFIG", raising=False)
    monkeypatch.chdir(tmp_path)
    return lambda *arguments: CliRunner().invoke(conformance, arguments)


def _reference(folder):
    text = (files("claimwright.conformance") / "declarations" / "reference.yaml").read_text(encoding="utf-8")
    (folder / "driver.yaml").write_text(text, encoding="utf-8")
    return "driver.yaml"


@pytest.mark.parametrize(
    "arguments", [("run", "driver.yaml"), ("check", "driver.yaml"), ("mutants", "--table-only")]
)
def test_an_unreachable_server_is_one_error_and_leaves_no_bundle(command, tmp_path, arguments):
    _reference(tmp_path)
    (tmp_path / "dead").write_text(_DEAD, encoding="utf-8")
    ended = command(*arguments, "--kubeconfig", "dead")
    assert ended.exit_code == 3, ended.output
    assert ended.output.count("error:") == 1
    assert "does not answer" in ended.output
    assert "Traceback" not in ended.output
    assert not (tmp_path / "conformance-bundle").exists()


@pytest.mark.parametrize("arguments", [("run", "driver.yaml"), ("check", "driver.yaml"), ("mutants",)])
@pytest.mark.parametrize("content", [b"\x93\xff", b"a: [", b"", b"- 1"])
def test_rubbish_in_place_of_a_kubeconfig_is_wrong_use(command, tmp_path, arguments, content):
    _reference(tmp_path)
    (tmp_path / "rubbish").write_bytes(content)
    ended = command(*arguments, "--kubeconfig", "rubbish")
    assert ended.exit_code == 2, ended.output
    assert "kubeconfig rubbish" in ended.output


def test_an_unknown_id_is_wrong_use_before_a_server_is_asked(command, tmp_path):
    ended = command("run", _reference(tmp_path), "--only", "DRA-NOPE-001")
    assert ended.exit_code == 2
    assert ended.output.startswith("error: 'DRA-NOPE-001' is no requirement id")


@pytest.mark.parametrize("text", ["", "- a", "3"])
def test_a_declaration_that_is_no_mapping_points_at_init(command, tmp_path, text):
    (tmp_path / "driver.yaml").write_text(text, encoding="utf-8")
    ended = command("check", "driver.yaml")
    assert ended.exit_code == 2
    assert "claimwright conformance init" in ended.output


@pytest.mark.parametrize("arguments", [(), ("run",), ("list",)])
def test_help_keeps_the_lines_of_its_examples(command, arguments):
    lines = command(*arguments, "--help").output.splitlines()
    assert [line for line in lines if line.startswith("    claimwright conformance ")]


def test_list_names_every_requirement(command):
    shown = command("list")
    assert shown.exit_code == 0
    assert all(identifier in shown.output for identifier in load_registry())


def test_list_as_json_of_one_area(command):
    found = json.loads(command("list", "--area", "prep", "--json").output)
    assert {one["id"].split("-")[1] for one in found} == {"PREP"}


def test_explain_tells_why_and_how(command):
    shown = command("list", "--explain", "dra-prep-006").output
    assert "Preparing twice" in shown
    assert "judged by" in shown


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (("list", "--area", "nope"), "nope"),
        (("list", "--explain", "DRA-X-001"), "DRA-X-001"),
        (("mutants", "--only", "99", "--kubeconfig", "x"), "99"),
        (("mutants",), "KUBECONFIG"),
        (("verify", "."), "is no bundle"),
        (("cleanup", "--run", "../x", "--kubeconfig", "x"), "../x"),
    ],
)
def test_wrong_use_is_exit_code_2_and_names_the_value(command, arguments, named):
    ended = command(*arguments)
    assert ended.exit_code == 2, ended.output
    assert named in ended.output


def test_a_malformed_declaration_is_one_error_and_exit_code_2(command, tmp_path):
    (tmp_path / "driver.yaml").write_text("kind: DriverUnderTest\nspecc: {}\n")
    for verb in ("check", "run"):
        ended = command(verb, "driver.yaml")
        assert ended.exit_code == 2
        assert "driver.yaml:2: specc: unknown key" in ended.output
        assert "Traceback" not in ended.output


def test_check_without_cluster_reads_the_declaration(command, tmp_path):
    ended = command("check", _reference(tmp_path))
    assert ended.exit_code == 0
    assert "84 of 84" in ended.output or "requirements bind it" in ended.output


def test_init_prints_what_check_accepts(command, tmp_path):
    (tmp_path / "mine.yaml").write_text(command("init").output)
    assert command("check", "mine.yaml").exit_code == 0


@pytest.fixture
def _any_server(monkeypatch):
    monkeypatch.setattr("claimwright.conformance.reach.require_api_server", lambda path: path)


def _answering(folder):
    """Write a kubeconfig that is readable; what it names is never asked."""
    (folder / "alive").write_text(_DEAD, encoding="utf-8")
    return "alive"


@pytest.mark.parametrize(
    ("more", "named"),
    [
        (("--out", "/proc/x"), "cannot be written to /proc/x"),
        (("--out", "strange"), "is no bundle"),
        (("--out", "driver.yaml"), "cannot be written"),
        (("--run-id", "A b/../c"), "--run-id 'A b/../c'"),
        (("--bogus",), "--bogus"),
    ],
)
@pytest.mark.usefixtures("_any_server")
def test_what_pytest_would_answer_with_a_stack_is_wrong_use(command, tmp_path, more, named, capfd):
    (tmp_path / "strange").mkdir()
    (tmp_path / "strange" / "mine.txt").write_text("", encoding="utf-8")
    bundle = tmp_path / "conformance-bundle"
    bundle.mkdir()
    (bundle / "report.json").write_text("{}", encoding="utf-8")
    ended = command("run", _reference(tmp_path), "--kubeconfig", _answering(tmp_path), *more)
    told = ended.output + "".join(capfd.readouterr())
    assert ended.exit_code == 2, told
    assert named in told
    assert "Traceback" not in told
    assert "INTERNALERROR" not in told
    assert (bundle / "report.json").read_text(encoding="utf-8") == "{}"


@pytest.mark.usefixtures("_any_server")
def test_ctrl_c_ends_with_the_code_that_shells_expect(command, tmp_path, monkeypatch):
    def interrupted(*_arguments, **_named):
        raise KeyboardInterrupt

    monkeypatch.setattr("_pytest.runner.runtestprotocol", interrupted)
    ended = command("run", _reference(tmp_path), "--kubeconfig", _answering(tmp_path))
    assert ended.exit_code == 130
