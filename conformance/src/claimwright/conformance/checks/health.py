# ruff: noqa: D103 - what a check judges is said once, in the registry
"""HEALTH: device health streams."""

from __future__ import annotations

from typing import Any

import grpc

from claimwright.conformance import wire
from claimwright.conformance.errors import Violation
from claimwright.conformance.expectations import expect
from claimwright.conformance.requirement_mark import requirement
from claimwright.conformance.stage import Stage

FIRST_REPORT_SECONDS = 10.0


@requirement("DRA-HEALTH-001")
def test_the_first_report_lists_every_device(stage: Stage) -> None:
    published = {(pool.name, device.name) for pool in stage.pools() for device in pool.devices}
    report = _first_report(stage, _advertised(stage)[0])
    told = {(one.device.pool_name, one.device.device_name) for one in report.devices}
    missing = sorted(published - told)
    expect(not missing, "every published device in the first report", f"without {missing}")


@requirement("DRA-HEALTH-002")
def test_advertised_health_services_are_served(stage: Stage) -> None:
    for version in _advertised(stage):
        _first_report(stage, version)


@requirement("DRA-HEALTH-003")
def test_streams_end_with_the_driver(own_stage: Stage) -> None:
    seconds = own_stage.spec.budgets.stop_s
    stream = wire.watch_health(
        own_stage.instance.service, _advertised(own_stage)[0], seconds + FIRST_REPORT_SECONDS
    )
    _next(stream)
    own_stage.instance.stop()
    try:
        for _ in stream:
            pass
    except grpc.RpcError as error:
        ended = error.code() is not grpc.StatusCode.DEADLINE_EXCEEDED
        expect(ended, f"the stream to end within {seconds:g} s of SIGTERM", wire.describe(error))


def _advertised(stage: Stage) -> list[str]:
    services = [one.removesuffix(".DRAResourceHealth") for one in stage.registration.info.versions]
    found = [version for version in wire.HEALTH_SERVICES if version in services]
    expect(found, "a DRAResourceHealth service among the advertised ones", stage.registration.info.versions)
    return found


def _first_report(stage: Stage, version: str) -> Any:  # noqa: ANN401 - generated for two versions
    stream = wire.watch_health(stage.instance.service, version, FIRST_REPORT_SECONDS)
    try:
        return _next(stream)
    finally:
        stream.cancel()


def _next(stream: Any) -> Any:  # noqa: ANN401 - grpc's call object
    try:
        return next(stream)
    except (StopIteration, grpc.RpcError) as error:
        seen = wire.describe(error) if isinstance(error, grpc.RpcError) else "the stream ended"
        raise Violation(f"a first report within {FIRST_REPORT_SECONDS:g} s", seen) from None
