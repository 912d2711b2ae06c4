"""What the ComputeDomain plugin reads of flags and of the NVLink fabric before it serves anybody."""

from __future__ import annotations

from pathlib import Path
from uuid import UUID

import pytest
from click.testing import CliRunner

from claimwright.driver.commands import driver
from claimwright.driver.computedomain.plugin.cliques import CliqueBook, clique_of
from claimwright.driver.errors import NodeUnusable
from claimwright.driver.feature_gates import FeatureGates
from claimwright.driver.ports import FabricReading, UnreadableGpu
from claimwright.driver.testing import MemoryNvml, gpu_reading

ONE, OTHER = "5d1a6ab0-1111-4222-8333-444455556666", "5d1a6ab0-1111-4222-8333-777788889999"
NONE = str(UUID(int=0))
ATTACHED = FabricReading(ONE, 7, state=3)
STRICT = FeatureGates.parse("")
LEGACY = FeatureGates.parse("CrashOnNVLinkFabricErrors=false")
INSIDE = FeatureGates.parse("FabricManagerPartitioning=true")


def clique(gates: FeatureGates, *fabrics: FabricReading | None) -> str:
    gpus = [gpu_reading(minor, fabric=fabric) for minor, fabric in enumerate(fabrics)]
    return clique_of(MemoryNvml(gpus).read(), gates)


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        (["--imex-mode=hostManaged"], "needs feature gate HostManagedIMEXDaemon=true"),
        (["--imex-mode=Host"], "--imex-mode 'Host': expected driverManaged or hostManaged"),
        (["--imex-isolation=channel"], "--imex-isolation 'channel'"),
        (
            ["--imex-host-socket-path=imex.sock"],
            "--imex-host-socket-path 'imex.sock': expected an absolute path",
        ),
        (["--node-name=A/B"], "--node-name 'A/B'"),
        (
            ["--feature-gates=IMEXDaemonsWithDNSNames=false"],
            "ComputeDomainCliques needs IMEXDaemonsWithDNSNames",
        ),
        (["--healthcheck-port=70000"], "--healthcheck-port 70000"),
        (["--cdi-root=cdi"], "--cdi-root 'cdi'"),
    ],
)
def test_a_flag_that_makes_no_sense_is_refused_by_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, flags: list[str], says: str
) -> None:
    monkeypatch.delenv("KUBECONFIG", raising=False)
    answered = CliRunner().invoke(
        driver, ["compute-domain-plugin", "--node-name=node-a", f"--host-root={tmp_path}", *flags]
    )

    assert answered.exit_code == 2
    assert says in answered.output


@pytest.mark.parametrize("gates", [STRICT, LEGACY], ids=["strict", "legacy"])
@pytest.mark.parametrize(
    ("fabrics", "expected"),
    [
        ((), ""),
        ((None, None), ""),
        ((ATTACHED, ATTACHED), f"{ONE}.7"),
        ((ATTACHED, None), f"{ONE}.7"),
        ((FabricReading(ONE, 0, state=3),), f"{ONE}.0"),
        ((FabricReading(NONE, 0, state=3),), ""),
    ],
)
def test_attached_gpus_tell_one_clique_and_others_none(
    gates: FeatureGates, fabrics: tuple[FabricReading | None, ...], expected: str
) -> None:
    assert clique(gates, *fabrics) == expected


@pytest.mark.parametrize("gates", [STRICT, LEGACY], ids=["strict", "legacy"])
@pytest.mark.parametrize("other", [FabricReading(OTHER, 7, state=3), FabricReading(ONE, 8, state=3)])
def test_gpus_of_two_cliques_are_refused_by_naming_both(gates: FeatureGates, other: FabricReading) -> None:
    with pytest.raises(NodeUnusable, match=f"{ONE}.7.*expected"):
        clique(gates, ATTACHED, other)


@pytest.mark.parametrize(
    ("fabric", "says"),
    [
        (FabricReading(ONE, 7, state=1), "registration not started"),
        (FabricReading(ONE, 7, state=2), "registration in progress"),
        (FabricReading(ONE, 7, state=3, status=999), "status 999"),
    ],
)
def test_a_gpu_that_is_not_attached_ends_the_start_or_counts_as_one_without_a_fabric(
    fabric: FabricReading, says: str
) -> None:
    with pytest.raises(NodeUnusable, match=f"GPU-.* is not attached to its NVLink fabric: {says}"):
        clique(STRICT, ATTACHED, fabric)
    assert clique(LEGACY, ATTACHED, fabric) == f"{ONE}.7"
    assert clique(LEGACY, fabric) == ""


def test_a_fabric_of_one_machine_that_claims_switch_is_never_an_error() -> None:
    inside = FabricReading(NONE, 0, state=1)

    assert clique(INSIDE, inside) == ""
    with pytest.raises(NodeUnusable):
        clique(STRICT, inside)


def test_a_gpu_that_nvml_does_not_describe_says_nothing_of_the_fabric() -> None:
    reading = MemoryNvml([gpu_reading(0, fabric=ATTACHED), UnreadableGpu(1, "lost", lost=True)]).read()

    assert clique_of(reading, STRICT) == f"{ONE}.7"


@pytest.mark.parametrize("fabric", [None, FabricReading(ONE, 7, state=2), FabricReading(NONE, 0, state=3)])
def test_a_clique_that_is_known_stays_until_another_one_is_told(fabric: FabricReading | None) -> None:
    nvml = MemoryNvml([gpu_reading(0, fabric=fabric)])
    book = CliqueBook(nvml, STRICT, f"{ONE}.7")
    kept = book.reread(), book.clique
    nvml.broken = "NVML is gone"
    broken = book.reread(), book.clique
    nvml.broken, nvml.gpus = None, (gpu_reading(0, fabric=FabricReading(OTHER, 1, state=3)),)
    moved = book.reread(), book.clique

    assert kept == broken == (False, f"{ONE}.7")
    assert moved == (True, f"{OTHER}.1")
