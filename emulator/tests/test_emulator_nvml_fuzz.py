"""Every exported function with rubbish: an error code, never a crash, never a byte too many."""

from __future__ import annotations

import asyncio
import json
import os
import re
import socket
import struct
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from claimwright.emulator.model import NodeModel, build_node, load_node_profile
from claimwright.emulator.nvml import compose
from claimwright.emulator.nvml.header import Function, Header, Parameter, installed_header, read_header
from claimwright.emulator.nvml.layout import GREETING, MAGIC, REPLY, REQUEST
from claimwright.emulator.nvml.server import serving

# Each record ends at an unreadable page, so that one byte beyond what the caller gave faults.
FUZZ = """
import ctypes, json, mmap, random, sys
library_path, seed, calls = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
functions = json.load(open(sys.argv[4]))
library, libc = ctypes.CDLL(library_path), ctypes.CDLL(None)
random.seed(seed)
ROOM, PAGE = 1 << 20, mmap.PAGESIZE
def guarded():
    memory = mmap.mmap(-1, ROOM + PAGE)
    start = ctypes.addressof(ctypes.c_char.from_buffer(memory))
    assert libc.mprotect(ctypes.c_void_p(start + ROOM), PAGE, 0) == 0
    return memory, start
areas = [guarded() for _ in range(8)]
assert library.nvmlInit_v2() == 0
device = ctypes.c_void_p()
assert library.nvmlDeviceGetHandleByIndex_v2(0, ctypes.byref(device)) == 0
handles = [device, device, device, None, ctypes.c_void_p(1), ctypes.c_void_p(device.value + 1000)]
def argument(kind, area, some):
    if kind[0] == "handle":
        return random.choice(handles)
    if kind[0] == "number":
        return ctypes.c_uint64(some if kind[1] else random.choice([0, 1, 2, 3, 7, 50, 2619, 0xFFFFFFFF]))
    _, size, counted, words = kind
    if random.random() < 0.15:
        return None
    word = random.choice([*words, 0, 0x1000004, random.getrandbits(32)]) if words else some
    size = word & 0xFFFFFF if word in words else size * (some if counted else 1)
    memory, start = area
    at = ROOM - size
    memory[at:ROOM] = bytes(size)
    if size >= 4:
        memory[at : at + 4] = word.to_bytes(4, "little")
    return ctypes.c_void_p(start + at)
known = set(range(31)) | {999}
for turn in range(calls):
    name, kinds = random.choice(functions)
    some = random.randrange(1, 90)
    result = getattr(library, name)(*[argument(kind, area, some) for kind, area in zip(kinds, areas)])
    assert result in known, (name, result)
print("survived", calls)
"""

_LIFETIME = {"nvmlInit", "nvmlInit_v2", "nvmlInitWithFlags", "nvmlShutdown", "nvmlErrorString"}
_HANDLES = {
    "nvmlDevice_t",
    "nvmlEventSet_t",
    "nvmlGpuInstance_t",
    "nvmlComputeInstance_t",
    "nvmlUnit_t",
    "nvmlGpmSample_t",
}
_NUMBERS = {"unsigned long long": 8, "unsigned long": 8, "char": 1, "unsigned char": 1, "unsigned short": 2}


def _signatures() -> list[tuple[str, list[tuple[object, ...]]]]:
    """Read from nvml.h what each argument is: handle, number, or records of a size, with their version words."""
    pytest.importorskip("pycparser")
    header = read_header(*installed_header())
    return [
        (f.name, [_kind(p, f, header) for p in f.parameters])
        for f in header.functions
        if f.name not in _LIFETIME
    ]


def _kind(parameter: Parameter, function: Function, header: Header) -> tuple[object, ...]:
    counted = any(re.search("count|size|length", p.name, re.IGNORECASE) for p in function.parameters)
    if not parameter.pointers:
        if parameter.type_name.endswith("_t") and header.sizes.get(parameter.type_name, 4) != 4:
            return ("number", False)
        is_count = bool(re.search("count|size|length", parameter.name, re.IGNORECASE))
        handle = parameter.type_name in _HANDLES
        return ("handle",) if handle else ("number", is_count)
    plain = _NUMBERS.get(parameter.type_name, 8 if parameter.type_name in _HANDLES else 4)
    size = header.sizes.get(parameter.type_name, plain)
    base = re.sub(r"(_v\d+)?_t$", "", parameter.type_name)
    words = [word for name, word in header.version_words.items() if re.fullmatch(rf"{base}_v\d+_t", name)]
    if not _begins_with_version(parameter.type_name, header):
        words = []
    if parameter.type_name == "char" and not counted:
        size = 96
    return ("records", size, counted, words)


def _begins_with_version(name: str, header: Header) -> bool:
    """Tell versioned records; of nvmlGpuFabricInfo_t, the second and third version alone carry their word."""
    each = next((each for each in header.types if each.name == name), None)
    while each and each.kind == "alias":
        each = next((found for found in header.types if found.name == each.target), None)
    return bool(each and each.members and each.members[0].name == "version")


def _device_nodes(root: Path, count: int) -> None:
    (root / "dev").mkdir()
    for name in ("nvidiactl", *(f"nvidia{minor}" for minor in range(count))):
        (root / "dev" / name).touch()


def _model(profile: str = "hgx-h100") -> NodeModel:
    return NodeModel(build_node(load_node_profile(profile), "node"))


@pytest.mark.parametrize("seed", [1, 2])
async def test_null_pointers_and_wrong_numbers_answer_with_a_code(tmp_path: Path, seed: int) -> None:
    """All functions, 100,000 calls, with handles good and bad, NULL, and records that end at a guard page."""
    signatures = tmp_path / "signatures.json"
    signatures.write_text(json.dumps(_signatures()))
    root = compose(tmp_path / "root", "580.126.20")
    _device_nodes(root.path, 8)
    async with serving(root.socket_path, _model()):
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-c",
            FUZZ,
            str(root.library_dir / "libnvidia-ml.so.1"),
            str(seed),
            "50000",
            str(signatures),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        output, error = await asyncio.wait_for(process.communicate(), 120)
    assert process.returncode == 0, error.decode()[-2000:]
    assert output.startswith(b"survived")


async def test_a_versioned_record_of_a_foreign_size_is_refused_and_untouched(tmp_path: Path) -> None:
    root = compose(tmp_path / "root", "580.126.20")
    _device_nodes(root.path, 8)
    script = textwrap.dedent(
        """
        import ctypes, sys
        library = ctypes.CDLL(sys.argv[1]); library.nvmlInit_v2()
        device = ctypes.c_void_p(); library.nvmlDeviceGetHandleByIndex_v2(0, ctypes.byref(device))
        for name in ("nvmlDeviceGetMemoryInfo_v2", "nvmlDeviceGetGpuFabricInfoV", "nvmlDeviceGetAddressingMode",
                     "nvmlDeviceGetPdi", "nvmlDeviceGetTemperatureV", "nvmlDeviceGetPciInfoExt",
                     "nvmlDeviceGetPlatformInfo",
                     "nvmlDeviceGetRunningProcessDetailList", "nvmlDeviceGetRepairStatus"):
            record = (ctypes.c_uint32 * 64)(*[0x1000FF0] + [0xABCDABCD] * 63)
            assert getattr(library, name)(device, record) == 25, name
            assert list(record)[1:] == [0xABCDABCD] * 63, name
        text = ctypes.create_string_buffer(b"x" * 8, 8)
        assert library.nvmlDeviceGetUUID(device, text, 8) == 7 and text.raw == b"x" * 8
        fabric = (ctypes.c_uint32 * 16)(*[0x2000024] + [0xABCDABCD] * 15)
        assert library.nvmlDeviceGetGpuFabricInfoV(device, fabric) == 0
        assert list(fabric)[9:] == [0xABCDABCD] * 7
        print("kept")
        """
    )
    async with serving(root.socket_path, _model()):
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-c",
            script,
            str(root.library_dir / "libnvidia-ml.so.1"),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        output, error = await asyncio.wait_for(process.communicate(), 60)
    assert output == b"kept\n", error.decode()


def _connect(path: Path) -> socket.socket:
    made = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    made.settimeout(10)
    made.connect(str(path))
    return made


async def _off_the_loop(work, *arguments):
    return await asyncio.wait_for(asyncio.to_thread(work, *arguments), 20)


def _request(operation: int, slot: int, *arguments: int) -> bytes:
    given = (*arguments, *[0] * (6 - len(arguments)))
    return struct.pack("<QII6Q", MAGIC, operation, slot, *given)


@pytest.mark.parametrize(
    "garbage",
    [b"x", b"\0" * REQUEST.size, os.urandom(REQUEST.size), b"y" * 4000],
    ids=["short", "zero", "noise", "long"],
)
async def test_garbage_ends_its_sender_only(tmp_path: Path, garbage: bytes) -> None:
    path = tmp_path / "socket"

    def talk() -> tuple[bytes, bytes]:
        with _connect(path) as good, _connect(path) as bad:
            good.recv(GREETING.size)
            bad.recv(GREETING.size)
            bad.send(garbage)
            ended = bad.recv(100)
            good.send(_request(1, 0, 1))
            return ended, good.recv(REPLY.size)

    model = _model("l4")
    async with serving(path, model):
        ended, reply = await _off_the_loop(talk)
    assert ended == b""
    assert REPLY.unpack(reply)["result"] == 0
    assert model.snapshot().gpus[0].persistence_mode


@pytest.mark.parametrize(
    ("request_", "result"),
    [
        (_request(99, 0), 3),
        (_request(2, 0, 9), 2),
        (_request(1, 77, 1), 6),
        (_request(9, 0, 12345, 8), 2),
        (_request(2, 0, 1), 3),
    ],
    ids=["unknown operation", "bad mode", "no such GPU", "foreign event connection", "mode that ended"],
)
async def test_a_refused_request_is_answered_with_the_hardwares_reason(
    tmp_path: Path, request_: bytes, result: int
) -> None:
    def talk() -> bytes:
        with _connect(tmp_path / "socket") as client:
            client.recv(GREETING.size)
            client.send(request_)
            return client.recv(REPLY.size)

    async with serving(tmp_path / "socket", _model("l4")):
        assert REPLY.unpack(await _off_the_loop(talk))["result"] == result


async def test_the_pages_handed_out_cannot_be_written(tmp_path: Path) -> None:
    import mmap

    def talk() -> int:
        with _connect(tmp_path / "socket") as client:
            _, handles, _, _ = socket.recv_fds(client, GREETING.size, 1)
            return handles[0]

    async with serving(tmp_path / "socket", _model("l4")):
        handle = await _off_the_loop(talk)
        try:
            with pytest.raises(PermissionError):
                mmap.mmap(handle, 4096)
            with pytest.raises(PermissionError):
                os.write(handle, b"x")
            with pytest.raises(PermissionError):
                os.ftruncate(handle, 0)
        finally:
            os.close(handle)


async def test_a_path_longer_than_a_socket_address_works_on_both_ends(tmp_path: Path) -> None:
    deep = tmp_path / ("d" * 100) / ("e" * 100)
    root = compose(deep, "580.126.20")
    _device_nodes(root.path, 1)
    script = "import ctypes, sys; print(ctypes.CDLL(sys.argv[1]).nvmlInit_v2())"
    async with serving(root.socket_path, _model("l4")):
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-c", script, str(root.library_dir / "libnvidia-ml.so.1"), stdout=subprocess.PIPE
        )
        output, _ = await asyncio.wait_for(process.communicate(), 60)
    assert output == b"0\n"
