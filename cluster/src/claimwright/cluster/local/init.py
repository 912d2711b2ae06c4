"""The first process of a cluster or node: makes its namespaces, starts its programs, reaps what they leave.

Runs as a file of its own (`python -I -S init.py CONFIG`), standard library only, so that it starts in
milliseconds and needs nothing of what is hidden by the mounts it makes. It is process 1 of a PID namespace
(pid_namespaces(7)): when it ends, in whatever way, the kernel ends every process of the namespace, nested
namespaces and containers included. That is what makes `down` complete after any accident.

CONFIG is JSON: `folder` (where the control socket and the log go), `namespaces`, `hostname`, `steps` (see
`local/steps.py`), `listener` (a descriptor to keep for programs that ask for it). The control socket answers one
JSON request per connection: `{"argv", "environment", "log", "listener"}` starts a program and sends back a pidfd.
"""

from __future__ import annotations

import ctypes
import json
import os
import selectors
import signal
import socket
import sys
import traceback
from typing import Any

SOCKET = "init.sock"
_FLAGS = {"mnt": 0x00020000, "uts": 0x04000000, "ipc": 0x08000000, "pid": 0x20000000, "net": 0x40000000}
_REQUEST_BYTES = 1 << 20
_CLIENT_SECONDS = 2.0


def main(argument: str) -> int:
    """Make the namespaces; the child stays as their first process, the caller gets its verdict."""
    config = json.loads(argument)
    os.chdir(config["folder"])
    _unshare(sum(_FLAGS[name] for name in config["namespaces"]))
    reader, writer = os.pipe()
    if (child := os.fork()) == 0:
        os.close(reader)
        os._exit(_first_process(config, writer))
    os.close(writer)
    with os.fdopen(reader) as said:
        if said.read() == "ready":
            return 0
    os.waitpid(child, 0)
    return 1


def _first_process(config: dict[str, Any], writer: int) -> int:
    try:
        os.setsid()
        if "uts" in config["namespaces"]:
            socket.sethostname(config["hostname"])
        for step in config["steps"]:
            perform(step)
        server = _listen(config["folder"])
        os.write(writer, b"ready")
        os.close(writer)
        _serve(server, config)
    except BaseException:  # noqa: BLE001 - the last frame of this process: say why in its log
        traceback.print_exc()
        sys.stderr.flush()
    return 1


def perform(step: dict[str, Any]) -> None:
    """Do one step of the plan; raises OSError that names it."""
    try:
        match step["do"]:
            case "mount":
                _mount(step["source"], step["target"], step["type"], step["flags"], step["data"])
            case "folder":
                os.makedirs(step["target"], mode=step["mode"], exist_ok=True)  # noqa: PTH103 - no pathlib here
                os.chmod(step["target"], step["mode"])  # noqa: PTH101
            case "device":
                os.mknod(step["target"], step["mode"], step["device"])
                os.chmod(step["target"], step["mode"] & 0o7777)  # noqa: PTH101
            case "link":
                os.symlink(step["source"], step["target"])  # noqa: PTH211
            case "write":
                with open(step["target"], "w", encoding="ascii") as stream:  # noqa: PTH123
                    stream.write(step["text"])
            case _:
                raise ValueError(f"unknown step {step}")
    except OSError as error:
        raise OSError(error.errno, f"{os.strerror(error.errno or 0)}: {step}") from error


def _unshare(flags: int) -> None:
    if flags and ctypes.CDLL(None, use_errno=True).unshare(flags) != 0:
        raise OSError(ctypes.get_errno(), f"unshare: {os.strerror(ctypes.get_errno())}")


def _mount(source: str, target: str, kind: str, flags: int, data: str) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    words = [word.encode() if word else None for word in (source, target, kind, data)]
    if libc.mount(words[0], words[1], words[2], ctypes.c_ulong(flags), words[3]) != 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


def _listen(folder: str) -> socket.socket:
    # A relative name: sun_path holds 107 bytes, the folder's path may be longer.
    os.chdir(folder)
    server = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    if os.path.lexists(SOCKET):
        os.unlink(SOCKET)  # noqa: PTH108
    server.bind(SOCKET)
    os.chmod(SOCKET, 0o600)  # noqa: PTH101
    server.listen(8)
    os.chdir("/")
    return server


def _serve(server: socket.socket, config: dict[str, Any]) -> None:
    waker, woken = socket.socketpair()
    for end in (waker, woken):
        end.setblocking(False)
    signal.set_wakeup_fd(woken.fileno(), warn_on_full_buffer=False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    with selectors.DefaultSelector() as selector:
        selector.register(server, selectors.EVENT_READ)
        selector.register(waker, selectors.EVENT_READ)
        while True:
            for key, _ in selector.select():
                if key.fileobj is server:
                    _answer(server.accept()[0], config)
                else:
                    waker.recv(4096)
            _reap()


def _answer(client: socket.socket, config: dict[str, Any]) -> None:
    with client:
        client.settimeout(_CLIENT_SECONDS)
        try:
            request = json.loads(client.makefile("rb").readline(_REQUEST_BYTES) or b"{}")
            if "argv" not in request:
                return
            descriptor = os.pidfd_open(_start(request, config.get("listener")))
            socket.send_fds(client, [b"started\n"], [descriptor])
            os.close(descriptor)
        except (OSError, ValueError) as error:
            print(f"error: a request failed: {error}", file=sys.stderr, flush=True)


def _start(request: dict[str, Any], listener: int | None) -> int:
    if child := os.fork():
        return child
    try:
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        os.setsid()
        log = os.open(request["log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        for descriptor, source in ((0, os.open("/dev/null", os.O_RDONLY)), (1, log), (2, log)):
            os.dup2(source, descriptor)
        if request.get("listener") and listener is not None:
            os.set_inheritable(listener, True)
        os.execvpe(request["argv"][0], request["argv"], request["environment"])  # noqa: S606
    except OSError as error:
        os.write(2, f"error: cannot start {request['argv'][0]}: {error}\n".encode())
    os._exit(127)


def _reap() -> None:
    try:
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    except ChildProcessError:
        return


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
