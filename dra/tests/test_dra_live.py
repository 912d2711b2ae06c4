"""Reading objects on an event loop: framing, kept connections that die, answers that never come."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest

from claimwright.dra.kube import RESOURCE_CLAIMS, KubeError, LiveReader, NotFound, Unavailable
from claimwright.dra.kube.credentials import Credentials

SMALL = b'HTTP/1.1 200 OK\r\nContent-Length: 7\r\n\r\n{"a":1}'
CHUNKED = (
    b'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4;x=y\r\n{"a"\r\n3\r\n:1}\r\n0\r\nT: r\r\n\r\n'
)
LAST = b'HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 7\r\n\r\n{"a":1}'
UNFRAMED = b'HTTP/1.1 200 OK\r\n\r\n{"a":1}'
CUT = b'HTTP/1.1 200 OK\r\nContent-Length: 70\r\n\r\n{"a":1}'


class Server:
    """Answers each request with the next of `answers`; an empty one cuts the connection, None says nothing."""

    def __init__(self, *answers: bytes | None) -> None:
        self.answers = list(answers)
        self.requests: list[bytes] = []
        self.connections: list[asyncio.StreamWriter] = []

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections.append(writer)
        try:
            while True:
                self.requests.append(await reader.readuntil(b"\r\n\r\n"))
                answer = self.answers.pop(0)
                if answer is None:
                    await reader.read()
                if not answer or answer in (UNFRAMED, CUT):
                    writer.write(answer or b"")
                    return
                writer.write(answer)
        except (EOFError, ConnectionError):
            return
        finally:
            writer.close()


@asynccontextmanager
async def reading(
    server: Server,
    *,
    timeout_seconds: float = 10,
    authorization: Callable[[], str | None] = lambda: None,
    blocks: bool = False,
) -> AsyncIterator[LiveReader]:
    listener = await asyncio.start_server(server.serve, "127.0.0.1", 0)
    host, port = listener.sockets[0].getsockname()
    given = Credentials(f"http://{host}:{port}/proxied", None, authorization, authorization_blocks=blocks)
    reader = LiveReader(given, user_agent="test", timeout_seconds=timeout_seconds, connections=2)
    try:
        yield reader
    finally:
        await reader.close()
        listener.close()
        for connection in server.connections:
            connection.close()


async def get(reader: LiveReader) -> object:
    return await reader.get(RESOURCE_CLAIMS, "c", namespace="n")


async def test_one_connection_serves_every_framing_until_the_server_ends_it() -> None:
    server = Server(SMALL, CHUNKED, LAST, SMALL, UNFRAMED, SMALL)
    async with reading(server) as reader:
        assert [await get(reader) for _ in range(6)] == [{"a": 1}] * 6
    assert len(server.connections) == 3
    first = server.requests[0].split(b"\r\n")[0]
    assert first == b"GET /proxied/apis/resource.k8s.io/v1/namespaces/n/resourceclaims/c HTTP/1.1"


async def test_a_kept_connection_that_the_server_closed_is_replaced() -> None:
    server = Server(SMALL, b"", SMALL)
    async with reading(server) as reader:
        assert [await get(reader), await get(reader)] == [{"a": 1}] * 2
    assert len(server.connections) == 2


@pytest.mark.parametrize("answers", [(b"",), (CUT,), (SMALL, CUT)], ids=["fresh", "cut", "kept and cut"])
async def test_a_connection_cut_elsewhere_is_an_error_and_not_tried_again(answers: tuple[bytes, ...]) -> None:
    server = Server(*answers, SMALL)
    async with reading(server) as reader:
        for _ in answers[:-1]:
            await get(reader)
        with pytest.raises(Unavailable, match=r"GET .*/resourceclaims/c: no answer from the API server"):
            await get(reader)
        assert len(server.requests) == len(answers)
        assert await get(reader) == {"a": 1}


async def test_an_answer_that_never_comes_ends_at_the_deadline_and_the_next_one_is_whole() -> None:
    async with reading(Server(None, SMALL), timeout_seconds=0.1) as reader:
        with pytest.raises(Unavailable, match=r"0\.1 s passed"):
            await get(reader)
        assert await get(reader) == {"a": 1}


async def test_a_cancelled_read_never_leaves_its_answer_to_the_next_one() -> None:
    server = Server(None, SMALL)
    async with reading(server) as reader:
        read = asyncio.create_task(get(reader))  # type: ignore[arg-type]
        async with asyncio.timeout(10):
            while not server.requests:
                await asyncio.sleep(0)
        read.cancel()
        assert await get(reader) == {"a": 1}
    assert len(server.connections) == 2


@pytest.mark.parametrize(
    ("answer", "kind", "says"),
    [
        (b'HTTP/1.1 404 Not Found\r\nContent-Length: 19\r\n\r\n{"message":"gone!"}', NotFound, "gone!"),
        (b"HTTP/1.1 503 Busy\r\nContent-Length: 4\r\n\r\nbusy", Unavailable, "busy"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{]", KubeError, "is no JSON"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n[]", KubeError, "is no object"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n", KubeError, "not HTTP/1.1"),
        (b"SSH-2.0-OpenSSH\r\n\r\n", KubeError, "not HTTP/1.1"),
    ],
    ids=["missing", "busy", "no json", "no object", "bad length", "other protocol"],
)
async def test_refusals_and_rubbish_are_errors_that_name_the_request(
    answer: bytes, kind: type[KubeError], says: str
) -> None:
    async with reading(Server(answer)) as reader:
        with pytest.raises(kind, match=f"GET .*/resourceclaims/c: .*{says}"):
            await get(reader)


@pytest.mark.parametrize("blocks", [False, True])
async def test_each_request_is_authorized_anew(blocks: bool) -> None:
    tokens = iter(["Bearer one", "Bearer two"])
    server = Server(SMALL, SMALL)
    async with reading(server, authorization=lambda: next(tokens), blocks=blocks) as reader:
        await get(reader)
        await get(reader)
    assert [b"Bearer one" in server.requests[0], b"Bearer two" in server.requests[1]] == [True, True]


async def test_more_reads_than_connections_wait_for_their_turn() -> None:
    server = Server(*[SMALL] * 16)
    async with reading(server) as reader:
        assert await asyncio.gather(*(get(reader) for _ in range(16))) == [{"a": 1}] * 16  # type: ignore[arg-type]
    assert len(server.connections) <= 2
