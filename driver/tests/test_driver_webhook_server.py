"""The webhook's server: HTTPS that nothing can stop or stall, and the manifests that point to it."""

from __future__ import annotations

import asyncio
import datetime as dt
import ipaddress
import json
import os
import signal
import ssl
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from http import HTTPStatus
from pathlib import Path
from typing import Any

import pytest
import yaml
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from hypothesis import given, settings
from hypothesis import strategies as st

from claimwright.driver import manifests
from claimwright.driver.errors import NodeUnusable
from claimwright.driver.feature_gates import FeatureGates
from claimwright.driver.testing import wait_until
from claimwright.driver.webhook import WebhookSettings
from claimwright.driver.webhook.connections import BODY_BYTES, Answer, Connection
from claimwright.driver.webhook.server import serving

ON = FeatureGates.parse("TimeSlicingSettings=true,MPSSupport=true")
GPU, DOMAIN = "gpu.nvidia.com", "compute-domain.nvidia.com"
PATH = "/validate-resource-claim-parameters"
PLURALS = {"resourceclaims", "resourceclaimtemplates", "deviceclasses"}


def asked(parameters: Any) -> bytes:
    """A review of a claim with one config, or with none."""
    configs = [] if parameters is None else [{"opaque": {"driver": GPU, "parameters": parameters}}]
    request = {
        "uid": "u-1",
        "operation": "CREATE",
        "resource": {"group": "resource.k8s.io", "version": "v1", "resource": "resourceclaims"},
        "object": {"spec": {"devices": {"config": configs}}},
    }
    body = {"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": request}
    return json.dumps(body).encode()


GOOD = asked(None)
BAD = asked({"apiVersion": "resource.nvidia.com/v1beta1", "kind": "GpuConfig", "a": 1})


def write_certificate(folder: Path, name: str) -> tuple[Path, Path]:
    """A certificate for loopback that signs itself, and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = dt.datetime.now(dt.UTC)
    loopback = x509.IPAddress(ipaddress.ip_address("127.0.0.1"))
    made = (
        x509.CertificateBuilder(subject, subject, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(hours=1))
        .not_valid_after(now + dt.timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName([loopback]), critical=False)
        .sign(key, hashes.SHA256())
    )
    encoding = serialization.Encoding.PEM
    private = key.private_bytes(encoding, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    certificate_file, key_file = folder / "tls.crt", folder / "tls.key"
    for path, data in ((certificate_file, made.public_bytes(encoding)), (key_file, private)):
        path.with_suffix(".new").write_bytes(data)
        path.with_suffix(".new").replace(path)
    return certificate_file, key_file


def trusting(certificate: Path) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=str(certificate))


@asynccontextmanager
async def served(folder: Path) -> AsyncIterator[tuple[int, ssl.SSLContext]]:
    certificate, key = write_certificate(folder, "first")
    async with serving(WebhookSettings(certificate, key, 0, ON, host="127.0.0.1")) as port:
        yield port, trusting(certificate)


async def told(port: int, context: ssl.SSLContext, request: bytes) -> bytes:
    """Send bytes over a new connection and return all that comes until it ends."""
    async with asyncio.timeout(20):
        reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context)
        try:
            writer.write(request)
            await writer.drain()
            return await reader.read()
        finally:
            writer.close()


def post(body: bytes, path: str = PATH, content: str = "application/json", more: str = "") -> bytes:
    head = (
        f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Type: {content}\r\nContent-Length: {len(body)}\r\n{more}"
    )
    return f"{head}Connection: close\r\n\r\n".encode() + body


@pytest.mark.parametrize(
    ("request_bytes", "status"),
    [
        (b"GET /readyz HTTP/1.1\r\nConnection: close\r\n\r\n", 200),
        (b"GET /readyz?verbose HTTP/1.0\r\n\r\n", 200),
        (post(GOOD), 200),
        (post(GOOD, content="Application/JSON; charset=utf-8"), 200),
        (post(GOOD, content="text/yaml"), 415),
        (post(b"{"), 400),
        (post(b"{}", path="/elsewhere"), 404),
        (b"GET " + PATH.encode() + b" HTTP/1.1\r\nConnection: close\r\n\r\n", 405),
        (b"nonsense\r\n\r\n", 400),
        (b"GET / HTTP/2.0\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nno colon\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nContent-Length: -1\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nContent-Length: many\r\n\r\n", 400),
        (f"POST / HTTP/1.1\r\nContent-Length: {BODY_BYTES + 1}\r\n\r\n".encode(), 413),
        (b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n", 411),
        (b"GET / HTTP/1.1\r\nLong: " + b"x" * 200_000 + b"\r\n\r\n", 431),
    ],
)
async def test_requests_get_the_status_of_the_reference(
    tmp_path: Path, request_bytes: bytes, status: int
) -> None:
    async with served(tmp_path) as (port, context):
        answer = await told(port, context, request_bytes)

    assert answer.startswith(f"HTTP/1.1 {status} ".encode())


async def test_readyz_says_ok(tmp_path: Path) -> None:
    async with served(tmp_path) as (port, context):
        assert (await told(port, context, b"GET /readyz HTTP/1.0\r\n\r\n")).endswith(b"\r\n\r\nok")


async def test_many_reviews_at_once_and_one_after_the_other_on_a_connection(tmp_path: Path) -> None:
    async def several(port: int, context: ssl.SSLContext) -> list[bool]:
        reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context)
        verdicts = []
        for body in (BAD, GOOD, BAD):
            writer.write(post(body).replace(b"Connection: close\r\n", b"Expect: 100-continue\r\n"))
            assert await reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
            head = (await reader.readuntil(b"\r\n\r\n")).decode()
            length = int(head.split("Content-Length: ")[1].split("\r\n")[0])
            verdicts.append(json.loads(await reader.readexactly(length))["response"]["allowed"])
        writer.close()
        return verdicts

    async with asyncio.timeout(60), served(tmp_path) as (port, context):
        found = await asyncio.gather(*(several(port, context) for _ in range(30)))

    assert found == [[False, True, False]] * 30


async def test_a_connection_that_stalls_keeps_nobody_from_an_answer(tmp_path: Path) -> None:
    async with served(tmp_path) as (port, context):
        plain_reader, plain = await asyncio.open_connection("127.0.0.1", port)  # not even a handshake
        _, slow = await asyncio.open_connection("127.0.0.1", port, ssl=context)
        slow.write(b"POST / HTTP/1.1\r\nContent-Length: 10\r\n\r\nab")
        await slow.drain()
        plain.write(b"GET /readyz HTTP/1.1\r\n\r\n")

        answer = await told(port, context, b"GET /readyz HTTP/1.0\r\n\r\n")
        refused = await asyncio.wait_for(plain_reader.read(), 20)
        slow.close()
        plain.close()

    assert answer.endswith(b"ok")
    assert b"ok" not in refused


class Wire:
    """A writer in memory."""

    def __init__(self) -> None:
        self.sent = b""

    def write(self, data: bytes) -> None:
        self.sent += data

    async def drain(self) -> None:
        """Everything is sent at once."""


async def test_a_request_that_does_not_end_is_answered_at_its_deadline() -> None:
    reader, wire = asyncio.StreamReader(), Wire()
    reader.feed_data(b"POST / HTTP/1.1\r\nContent-Length: 10\r\n\r\nab")
    connection = Connection(
        reader,
        wire,
        lambda _: pytest.fail("incomplete"),
        request_seconds=0.01,  # type: ignore[arg-type]
    )

    await asyncio.wait_for(connection.serve(), 10)

    assert wire.sent.startswith(b"HTTP/1.1 408 ")
    assert b"Connection: close" in wire.sent


PIECES = [b"\r\n\r\n", b": ", b"Content-Length: 99\r\n"]


@settings(max_examples=200, deadline=None)
@given(
    start=st.sampled_from([b"", b"GET /readyz HTTP/1.1\r\n", b"POST / HTTP/1.1\r\nContent-Length: 3\r\n"]),
    noise=st.lists(
        st.binary(max_size=40) | st.sampled_from([b"\r\n\r\n", b": ", b"Content-Length: 99\r\n"]), max_size=6
    ),
)
def test_any_bytes_are_answered_or_dropped(start: bytes, noise: list[bytes]) -> None:
    async def talk() -> bytes:
        reader, wire = asyncio.StreamReader(limit=65536), Wire()
        reader.feed_data(start + b"".join(noise))
        reader.feed_eof()
        answer = Answer(HTTPStatus.OK, b"ok")
        await asyncio.wait_for(Connection(reader, wire, lambda _: answer).serve(), 10)  # type: ignore[arg-type]
        return wire.sent

    sent = asyncio.run(talk())
    assert sent == b"" or sent.startswith(b"HTTP/1.1 ")


async def test_a_silent_connection_ends() -> None:
    answer = Answer(HTTPStatus.OK, b"")
    connection = Connection(asyncio.StreamReader(), Wire(), lambda _: answer, idle_seconds=0.01)  # type: ignore[arg-type]

    await asyncio.wait_for(connection.serve(), 10)


async def test_a_renewed_certificate_is_served_without_a_restart(tmp_path: Path) -> None:
    async with served(tmp_path) as (port, first):
        await told(port, first, b"GET /readyz HTTP/1.0\r\n\r\n")
        (tmp_path / "tls.key").write_text("half of a renewal")
        assert (await told(port, first, b"GET /readyz HTTP/1.0\r\n\r\n")).endswith(b"ok")
        second = trusting(write_certificate(tmp_path, "second")[0])

        async def is_served() -> bool:
            try:
                return (await told(port, second, b"GET /readyz HTTP/1.0\r\n\r\n")).endswith(b"ok")
            except ssl.SSLCertVerificationError:
                return False

        async with asyncio.timeout(20):
            while not await is_served():  # noqa: ASYNC110  each look is a connection
                await asyncio.sleep(0.05)


@pytest.mark.parametrize("spoil", ["missing", "rubbish", "swapped"])
async def test_a_certificate_that_cannot_be_used_is_refused_at_start(tmp_path: Path, spoil: str) -> None:
    certificate, key = write_certificate(tmp_path, "first")
    if spoil == "missing":
        key.unlink()
    elif spoil == "rubbish":
        certificate.write_text("hello")
    else:
        certificate, key = key, certificate

    with pytest.raises(NodeUnusable, match="--tls-cert-file"):
        async with serving(WebhookSettings(certificate, key, 0, ON, host="127.0.0.1")):
            pass


@pytest.mark.slow
async def test_the_process_serves_and_ends_on_a_signal_with_connections_open(tmp_path: Path) -> None:
    certificate, key = write_certificate(tmp_path, "first")
    log = tmp_path / "log"
    with log.open("wb") as file:
        process = subprocess.Popen(  # noqa: ASYNC220  it starts in milliseconds
            [Path(sys.executable).with_name("claimwright"), "driver", "webhook"],
            env={
                **os.environ,
                "TLS_CERT_FILE": str(certificate),
                "TLS_PRIVATE_KEY_FILE": str(key),
                "PORT": "0",
            },
            stderr=file,
        )
    try:
        await wait_until(lambda: "serving reviews on port" in log.read_text())
        port = int(log.read_text().split("on port ")[1].split()[0])
        _, idle = await asyncio.open_connection("127.0.0.1", port, ssl=trusting(certificate))
        answer = await told(port, trusting(certificate), post(GOOD))
        process.send_signal(signal.SIGTERM)
        status = await asyncio.to_thread(
            process.wait, 5
        )  # less than a request may take: idle ones are not waited for
        idle.close()
    finally:
        process.kill()
        process.wait()

    assert b'"allowed": true' in answer
    assert status == 0
    assert "Traceback" not in log.read_text()


def test_the_configuration_fails_closed_for_its_own_configs_only(tmp_path: Path) -> None:
    authority = write_certificate(tmp_path, "ca")[0].read_text()
    text = manifests.render(["webhook"], namespace="gpus", webhook_ca=authority)
    items = {item["kind"]: item for item in yaml.safe_load_all(text)}
    (hook,) = items["ValidatingWebhookConfiguration"]["webhooks"]
    (container,) = items["Deployment"]["spec"]["template"]["spec"]["containers"]

    assert (hook["failurePolicy"], hook["sideEffects"]) == ("Fail", "None")
    assert all(driver in hook["matchConditions"][0]["expression"] for driver in (GPU, DOMAIN))
    assert hook["clientConfig"]["service"] == {
        "name": items["Service"]["metadata"]["name"], "namespace": "gpus", "path": PATH, "port": 443
    }  # fmt: skip
    assert set(hook["rules"][0]["resources"]) == PLURALS
    assert items["Service"]["spec"]["ports"][0]["targetPort"] == container["ports"][0]["name"]


@pytest.mark.parametrize("pem", ["", "hello"])
def test_the_webhook_is_not_rendered_without_an_authority(pem: str) -> None:
    with pytest.raises(NodeUnusable, match="--webhook-ca"):
        manifests.render(["webhook"], webhook_ca=pem)
