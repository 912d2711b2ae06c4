# ruff: noqa: D103 - what a check judges is said once, in the registry
"""REG: the socket that the kubelet finds, and the handshake on it."""

from __future__ import annotations

import grpc

from claimwright.conformance import wire
from claimwright.conformance.errors import Violation
from claimwright.conformance.expectations import expect, expect_equal
from claimwright.conformance.requirement_mark import requirement
from claimwright.conformance.stage import Stage
from claimwright.conformance.wire import DRA_SERVICES, Info, Socket


@requirement("DRA-REG-001")
def test_the_type_is_dra_plugin(stage: Stage) -> None:
    expect_equal(stage.registration.info.type, "DRAPlugin", "plugin type")


@requirement("DRA-REG-002")
def test_the_name_is_the_declared_one(stage: Stage) -> None:
    expect_equal(stage.registration.info.name, stage.spec.driver, "registered name")
    stage.pools()  # slices are listed by the declared name, so that a pool proves the same name there


@requirement("DRA-REG-003")
def test_the_endpoint_is_a_socket_that_answers(stage: Stage) -> None:
    endpoint = stage.registration.info.endpoint
    expect(not endpoint or endpoint.startswith("/"), "an absolute path, or none", repr(endpoint))
    reply = wire.prepare(stage.instance.service, stage.registration.version, (), 10)
    expect(not reply.rpc_error.startswith("UNAVAILABLE"), f"an answer at {endpoint}", reply.rpc_error)


@requirement("DRA-REG-004")
def test_every_advertised_service_is_served(stage: Stage) -> None:
    advertised = _advertised(stage.registration.info)
    expect(advertised, f"one of {', '.join(DRA_SERVICES)} to be advertised", stage.registration.info.versions)
    for version in advertised:
        reply = wire.prepare(stage.instance.service, version, (), 10)
        served = not reply.rpc_error.startswith(("UNIMPLEMENTED", "UNAVAILABLE"))
        expect(served, f"the advertised service {version}.DRAPlugin to be served", reply.rpc_error)


@requirement("DRA-REG-005")
def test_newer_versions_come_first(stage: Stage) -> None:
    advertised = _advertised(stage.registration.info)
    expect_equal(advertised, [one for one in DRA_SERVICES if one in advertised], "versions, newest first")


@requirement("DRA-REG-006")
def test_get_info_answers_within_a_second(stage: Stage) -> None:
    for _ in range(3):
        socket = Socket(stage.registration.socket, stage.instance.transcript)
        try:
            wire.get_info(socket, seconds=1.0)
        except grpc.RpcError as error:
            raise Violation("an answer to GetInfo within 1 s", wire.describe(error)) from None
        finally:
            socket.close()


@requirement("DRA-REG-007")
def test_a_refused_plugin_registers_at_the_next_attempt(stage: Stage) -> None:
    socket = Socket(stage.registration.socket, stage.instance.transcript)
    try:
        wire.notify(socket, registered=False, error="refused by the conformance suite, once")
    except grpc.RpcError as error:  # an error in reply to a refusal is the plugin's right
        stage.observations["reply_to_refusal"] = wire.describe(error)
    finally:
        socket.close()
    stage.instance.handshake()


@requirement("DRA-REG-008")
def test_a_restarted_kubelet_finds_the_plugin_again(stage: Stage) -> None:
    first = stage.registration
    for _ in range(2):
        stage.instance.disconnect()
        try:
            again = stage.instance.handshake()
        except Violation as violation:
            stage.instance.reconnect(first)
            raise Violation("a registration socket after a kubelet restart", violation.seen) from None
        expect_equal(again.info.endpoint, first.info.endpoint, "endpoint of the second handshake")


@requirement("DRA-REG-009")
def test_sigterm_removes_the_registration_socket(own_stage: Stage) -> None:
    code = own_stage.instance.stop()
    own_stage.observations["exit_code"] = code
    left = [path.name for path in own_stage.instance.folders.registry.rglob("*.sock")]
    expect(not left, "no socket in the registration folder after SIGTERM", ", ".join(left))


@requirement("DRA-REG-010")
def test_a_killed_driver_starts_over_its_stale_sockets(own_stage: Stage) -> None:
    socket = own_stage.registration.socket
    own_stage.instance.kill()
    expect(socket.exists(), "the socket of a killed process to stay (the control)", f"{socket.name} is gone")
    own_stage.instance.disconnect()
    own_stage.instance.start()
    own_stage.prepared(own_stage.claim())


@requirement("DRA-REG-011")
def test_the_sockets_are_closed_to_others(stage: Stage) -> None:
    for path in (stage.registration.socket, stage.registration.endpoint):
        expect(path.exists(), f"a socket at {path.name}", "no such file")
        modes = [one.stat().st_mode & 0o777 for one in (path, path.parent)]
        closed = any(mode & 0o007 == 0 for mode in modes)
        expect(closed, f"no access for others to {path.name} or to its folder", [oct(mode) for mode in modes])


@requirement("DRA-REG-012")
def test_the_declared_versions_are_advertised(stage: Stage) -> None:
    expect_equal(sorted(_advertised(stage.registration.info)), sorted(stage.spec.rpc), "advertised versions")


def _advertised(info: Info) -> list[str]:
    services = [
        version.removesuffix(".DRAPlugin") for version in info.versions if version.endswith(".DRAPlugin")
    ]
    return [version for version in services if version in DRA_SERVICES]
