"""The driver's Helm chart: what it renders for whom, what it refuses, and that the plain manifests say the same."""

from __future__ import annotations

import base64
import ssl
import subprocess
import sys
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from cryptography import x509

from claimwright.driver import manifests
from claimwright.driver.feature_gates import DEFAULTS, FeatureGates
from claimwright.driver.settings import parse_endpoint
from claimwright.e2e.helm import CHART, Helm, HelmRefused, as_flags, find_helm

# Not in the unit run: helm is provided for the e2e one.
pytestmark = pytest.mark.e2e
ROOT = Path(__file__).parents[2]
SCHEMA = CHART / "values.schema.json"


@pytest.fixture
def helm() -> Helm:
    program = find_helm()
    if program is None:
        pytest.skip("no helm on PATH or in the cache: claimwright cluster build --program helm")
    return Helm(program)


def objects(text: str) -> dict[str, dict[str, Any]]:
    """The rendered objects by kind; where there are several of one, the last."""
    return {item["kind"]: item for item in yaml.safe_load_all(text) if item}


def plugin(text: str) -> dict[str, Any]:
    (container,) = objects(text)["DaemonSet"]["spec"]["template"]["spec"]["containers"]
    assert isinstance(container, dict)
    return container


def environment(text: str) -> dict[str, str]:
    return {entry["name"]: entry.get("value", "") for entry in plugin(text)["env"]}


def host_path(text: str, volume: str) -> str:
    volumes = objects(text)["DaemonSet"]["spec"]["template"]["spec"]["volumes"]
    return next(str(each["hostPath"]["path"]) for each in volumes if each["name"] == volume)


def test_the_chart_passes_helms_own_lint(helm: Helm) -> None:
    assert "0 chart(s) failed" in helm.lint() or helm.lint() == ""


def test_the_plain_manifests_are_the_chart_with_its_defaults(helm: Helm) -> None:
    ended = subprocess.run(
        [sys.executable, str(ROOT / "driver/tools/render_manifests.py"), "--check"],
        env={"PATH": str(helm.program.parent), "PYTHONPATH": ":".join(sys.path)},
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip

    assert ended.returncode == 0, f"{ended.stdout}{ended.stderr}: python driver/tools/render_manifests.py"


def test_namespace_and_image_mean_the_same_in_the_chart_and_in_the_plain_manifests(helm: Helm) -> None:
    flags = ["--set", "image.repository=registry.example.com/gpu/driver,image.tag=v2"]
    chart = helm.template(*flags, namespace="gpus")
    plain = manifests.render(namespace="gpus", image="registry.example.com/gpu/driver:v2")

    def key(item: dict[str, Any]) -> tuple[str, str]:
        return item["kind"], item["metadata"]["name"]

    installed = {key(item): item for item in yaml.safe_load_all(plain) if item["kind"] != "Namespace"}
    assert {key(item): item for item in yaml.safe_load_all(chart) if item} == installed


@pytest.mark.capability("003-07")
@pytest.mark.parametrize(
    ("values", "root"),
    [
        ("", "/"),
        ("values-operator.yaml", "/run/nvidia/driver"),
        ("values-gke.yaml", "/home/kubernetes/bin/nvidia"),
    ],
)
def test_each_layout_of_the_driver_installation_is_mounted_and_named(
    helm: Helm, values: str, root: str
) -> None:
    text = helm.template(*(["--values", str(CHART / values)] if values else []))

    assert environment(text)["NVIDIA_DRIVER_ROOT"] == root
    assert host_path(text, "driver-root") == root
    mounts = {mount["name"]: mount["mountPath"] for mount in plugin(text)["volumeMounts"]}
    assert mounts["driver-root"] == environment(text)["DRIVER_ROOT_CTR_PATH"]
    assert mounts["host-root"] == environment(text)["HOST_ROOT"]


def test_feature_gates_reach_the_driver_in_its_own_words(helm: Helm) -> None:
    text = helm.template("--set", "featureGates.DynamicMIG=true,featureGates.ComputeDomainCliques=false")

    gates = FeatureGates.parse(environment(text)["FEATURE_GATES"])
    assert gates["DynamicMIG"]
    assert not gates["ComputeDomainCliques"]


def test_the_schema_knows_every_feature_gate_of_the_driver() -> None:
    known = yaml.safe_load(SCHEMA.read_text())["properties"]["featureGates"]["properties"]

    assert set(DEFAULTS) <= set(known)
    FeatureGates.parse(",".join(f"{name}=true" for name in known))


def test_every_variable_of_the_container_is_one_that_the_driver_reads(helm: Helm) -> None:
    from claimwright.driver.commands import driver

    read = {name for option in driver.commands["gpu-plugin"].params for name in _names(option.envvar)}
    of_the_runtime = {"NVIDIA_VISIBLE_DEVICES", "NVIDIA_MIG_CONFIG_DEVICES"}

    assert set(environment(helm.template())) - of_the_runtime <= read


def test_the_probes_ask_the_port_that_the_driver_serves(helm: Helm) -> None:
    container = plugin(helm.template("--set", "kubeletPlugin.containers.gpus.healthcheckPort=4000"))

    ports = {container[probe]["grpc"]["port"] for probe in ("startupProbe", "livenessProbe")}
    assert ports == {4000}
    assert {entry["name"]: entry.get("value") for entry in container["env"]}["HEALTHCHECK_PORT"] == "4000"
    assert container["startupProbe"]["failureThreshold"] * container["startupProbe"]["periodSeconds"] == 600
    assert container["livenessProbe"]["periodSeconds"] == 30


def test_what_is_switched_off_leaves_nothing_open(helm: Helm) -> None:
    off = "kubeletPlugin.containers.gpus.healthcheckPort=-1,kubeletPlugin.metrics.enabled=false"
    text = helm.template("--set", off)

    assert "livenessProbe" not in plugin(text)
    assert environment(text)["HTTP_ENDPOINT"] == ""
    assert objects(text)["NetworkPolicy"]["spec"]["ingress"] == []


def test_the_network_policy_lets_probes_and_metrics_in_and_the_api_server_out(helm: Helm) -> None:
    text = helm.template("--set", "kubeletPlugin.metrics.gpuHttpEndpoint=0.0.0.0:9000")
    policy = objects(text)["NetworkPolicy"]["spec"]
    endpoint = parse_endpoint(environment(text)["HTTP_ENDPOINT"])

    assert endpoint == ("0.0.0.0", 9000)
    assert {each["port"] for each in policy["ingress"][0]["ports"]} == {51516, 9000}
    assert {each["port"] for each in policy["egress"][0]["ports"]} == {443, 6443}
    labels = objects(text)["DaemonSet"]["spec"]["template"]["metadata"]["labels"]
    assert policy["podSelector"]["matchLabels"].items() <= labels.items()


@pytest.mark.parametrize("account", ["", "gpu-driver"])
def test_the_policy_matches_the_account_that_the_pods_run_as(helm: Helm, account: str) -> None:
    """Quirk 23: the community chart's policy names an account that no pod uses."""
    text = helm.template("--set", f"serviceAccount.name={account}", namespace="gpus")
    found = objects(text)

    used = found["DaemonSet"]["spec"]["template"]["spec"]["serviceAccountName"]
    (condition,) = found["ValidatingAdmissionPolicy"]["spec"]["matchConditions"]
    assert f"'system:serviceaccount:gpus:{used}'" in condition["expression"]
    assert found["ClusterRoleBinding"]["subjects"][0]["name"] == used
    assert found["ServiceAccount"]["metadata"]["name"] == used


def test_the_self_signed_certificate_is_for_the_service_and_from_the_authority_of_the_webhook(
    helm: Helm, tmp_path: Path
) -> None:
    found = objects(helm.template("--set", "webhook.enabled=true", namespace="gpus"))
    secret = {name: base64.b64decode(text) for name, text in found["Secret"]["data"].items()}
    (client,) = (hook["clientConfig"] for hook in found["ValidatingWebhookConfiguration"]["webhooks"])
    served = x509.load_pem_x509_certificate(secret["tls.crt"])
    authority = x509.load_pem_x509_certificate(base64.b64decode(client["caBundle"]))

    served.verify_directly_issued_by(authority)
    names = served.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == [f"{client['service']['name']}.gpus.svc"]
    for name in ("tls.crt", "tls.key"):
        (tmp_path / name).write_bytes(secret[name])
    ssl.create_default_context(ssl.Purpose.CLIENT_AUTH).load_cert_chain(
        tmp_path / "tls.crt", tmp_path / "tls.key"
    )


def test_cert_manager_is_told_where_the_certificate_goes(helm: Helm) -> None:
    found = objects(helm.template("--set", "webhook.enabled=true,webhook.tls.mode=cert-manager"))
    volumes = found["Deployment"]["spec"]["template"]["spec"]["volumes"]
    annotations = found["ValidatingWebhookConfiguration"]["metadata"]["annotations"]
    certificate = found["Certificate"]

    assert "Secret" not in found
    assert volumes[0]["secret"]["secretName"] == certificate["spec"]["secretName"]
    where = f"{certificate['metadata']['namespace']}/{certificate['metadata']['name']}"
    assert annotations == {"cert-manager.io/inject-ca-from": where}


def test_the_webhook_runs_with_no_rights_at_all(helm: Helm) -> None:
    found = objects(helm.template("--set", "webhook.enabled=true"))
    pod = found["Deployment"]["spec"]["template"]["spec"]

    assert pod["automountServiceAccountToken"] is False
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["containers"][0]["securityContext"]["capabilities"] == {"drop": ["ALL"]}
    assert pod["containers"][0]["securityContext"]["readOnlyRootFilesystem"] is True
    bound = {subject["name"] for subject in found["ClusterRoleBinding"]["subjects"]}
    assert pod["serviceAccountName"] not in bound


@pytest.mark.parametrize(
    ("flag", "says"),
    [
        ("featureGates.NoSuchGate=true", "NoSuchGate"),
        ("featureGates.DynamicMIG=maybe", "/featureGates/DynamicMIG"),
        ("nvidiaDriverRoot=relative", "/nvidiaDriverRoot"),
        ("image.pullPolicy=Sometimes", "/image/pullPolicy"),
        ("kubeletPlugin.containers.gpus.healthcheckPort=70000", "healthcheckPort"),
        ("kubeletPlugin.metrics.gpuHttpEndpoint=8080", "gpuHttpEndpoint"),
        ("consumableShares=many", "/consumableShares"),
        ("consumableShares=4", "featureGates.ConsumableShares=true"),
        ("webhook.enabled=true,webhook.tls.mode=secret", "webhook.tls.secret.caBundle"),
        ("webhook.tls.mode=none", "/webhook/tls/mode"),
        ("resources.computeDomains.enabled=maybe", "/resources/computeDomains/enabled"),
        ("resources.gpus.enabled=false", "resources.computeDomains.enabled=true"),
        ("kubletPlugin.priorityClassName=x", "kubletPlugin"),
    ],
)
def test_a_wrong_value_is_refused_and_named(helm: Helm, flag: str, says: str) -> None:
    with pytest.raises(HelmRefused, match=says):
        helm.template("--set", flag)


def test_the_community_charts_words_for_gpus_only_are_taken(helm: Helm) -> None:
    flags = ("resources.gpus.enabled=true", "gpuResourcesEnabledOverride=true")

    plain = helm.template(*as_flags(dict(flag.split("=") for flag in flags)))

    assert helm.template(*as_flags({"resources.computeDomains.enabled": "false"})) == plain


def test_the_default_namespace_is_refused_unless_it_is_wanted(helm: Helm) -> None:
    with pytest.raises(HelmRefused, match="--create-namespace"):
        helm.template(namespace="default")

    assert objects(helm.template("--set", "allowDefaultNamespace=true", namespace="default"))


def test_an_older_kubernetes_is_refused(helm: Helm) -> None:
    with pytest.raises(HelmRefused, match=r"1\.33"):
        helm.template("--kube-version", "1.33.9")

    assert helm.template("--kube-version", "1.34.0")


def test_the_defaults_fit_the_schema() -> None:
    jsonschema.validate(
        yaml.safe_load((CHART / "values.yaml").read_text()), yaml.safe_load(SCHEMA.read_text())
    )


def _names(envvar: str | list[str] | None) -> list[str]:
    return [envvar] if isinstance(envvar, str) else list(envvar or ())
