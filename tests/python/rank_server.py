"""RankServer's process: imports PyTorch and rueda once, then forks the ranks of test jobs.

Importing PyTorch takes seconds, forking a process that has it takes milliseconds, so every test
can have fresh ranks. They are ordinary processes otherwise: a process group and an interpreter exit
of their own, and nothing of rueda was started before the fork.

Each request makes a family:

    server ── keeper ── rank 0, rank 1, ...
                    └── whatever ranks leave behind (the keeper is their subreaper)

The keeper reports how each rank ended, and that nobody is left. Messages go over sockets that come
with the request; ranks.py has the other ends.
"""

from __future__ import annotations

import atexit
import contextlib
import ctypes
import faulthandler
import gc
import json
import os
import signal
import socket
import struct
import sys
import time
import traceback
import weakref
from typing import Any

import cloudpickle

_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36
_LENGTH = struct.Struct("<Q")
_MOST_DESCRIPTORS = 64


def _prctl(option: int, value: int) -> None:
    if ctypes.CDLL(None, use_errno=True).prctl(option, value, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl")


class Link:
    """A rank's line to the test that started it."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection

    def tell(self, value: Any) -> None:
        """Send the test a value; it gets it by ``job.hear(rank)``."""
        self.send("told", value)

    def hear(self) -> Any:
        """Return the next value that the test sent by ``job.tell(rank, value)``."""
        (length,) = _LENGTH.unpack(self._receive(_LENGTH.size))
        return cloudpickle.loads(self._receive(length))

    def fileno(self) -> int:
        """Return the descriptor, which can be read when the test has said something."""
        return self._connection.fileno()

    def send(self, kind: str, value: Any) -> None:
        message = cloudpickle.dumps((kind, value, time.monotonic()))
        self._connection.sendall(_LENGTH.pack(len(message)) + message)

    def _receive(self, length: int) -> bytes:
        data = bytearray()
        while len(data) < length:
            piece = self._connection.recv(length - len(data))
            if not piece:
                raise EOFError("the test hung up")
            data += piece
        return bytes(data)


def serve(requests: socket.socket) -> None:
    """Fork a keeper for each request until the test process closes the socket."""
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for keepers
    requests.send(b"ready")
    while True:
        data, descriptors, _, _ = socket.recv_fds(requests, 1 << 16, _MOST_DESCRIPTORS)
        if not data:
            return
        if os.fork() == 0:
            requests.close()
            _keep(json.loads(data), descriptors)
            return
        for descriptor in descriptors:
            os.close(descriptor)


def _keep(request: dict[str, Any], descriptors: list[int]) -> None:
    """Start the ranks and stay until all of them, and all they left behind, are gone."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    _prctl(_PR_SET_CHILD_SUBREAPER, 1)
    payload, report, *own = descriptors
    size = len(request["env"])
    outputs, lines = own[:size], own[size:]
    rank_of: dict[int, int] = {}
    for rank in range(size):
        pid = os.fork()
        if pid == 0:
            for descriptor in [report, *outputs[:rank], *outputs[rank + 1 :]]:
                os.close(descriptor)
            for descriptor in [*lines[:rank], *lines[rank + 1 :]]:
                os.close(descriptor)
            _be_rank(request, rank, payload, outputs[rank], lines[rank])
            return
        rank_of[pid] = rank
    for descriptor in [payload, *own]:
        os.close(descriptor)
    with socket.socket(fileno=report) as connection, contextlib.suppress(BrokenPipeError):
        connection.send(json.dumps({"pids": list(rank_of)}).encode())
        with contextlib.suppress(ChildProcessError):
            while True:
                pid, status = os.wait()
                if pid in rank_of:
                    code = os.waitstatus_to_exitcode(status)
                    ended = {"rank": rank_of[pid], "code": code, "at": time.monotonic()}
                    connection.send(json.dumps({"ended": ended}).encode())
        connection.send(json.dumps({"empty": True}).encode())
    os._exit(0)


def _be_rank(request: dict[str, Any], rank: int, payload: int, output: int, line: int) -> None:
    """Become a rank; returning from here is the end of its script."""
    _prctl(_PR_SET_CHILD_SUBREAPER, 0)
    _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    os.setpgid(0, 0)
    os.dup2(output, 1)
    os.dup2(output, 2)
    os.close(output)
    os.environ.clear()
    os.environ.update(request["env"][rank])
    faulthandler.enable()
    faulthandler.register(signal.SIGUSR1, all_threads=True)
    # Not read: its position is shared with the other ranks.
    main, arguments = cloudpickle.loads(os.pread(payload, os.fstat(payload).st_size, 0))
    os.close(payload)
    link = Link(socket.socket(fileno=line))
    if request["interactive"]:
        arguments = (link, *arguments)
    try:
        value = _run_in_job(main, arguments) if request["init"] else main(*arguments)
        link.send("returned", value)
    except Exception as error:
        link.send("raised", (_sendable(error), traceback.format_exc()))
        if request["full_exit"]:
            raise
        sys.last_value = error
        sys.excepthook(type(error), error, error.__traceback__)
        _exit_quickly(1)
    if not request["full_exit"]:
        _exit_quickly(0)


def _run_in_job(main: Any, arguments: tuple[Any, ...]) -> Any:
    import rueda as hvd

    hvd.init()
    value = main(*arguments)
    hvd.shutdown()
    return value


def _exit_quickly(code: int) -> None:
    """End without taking PyTorch's modules apart, which takes ten times as long as most tests."""
    # Nor its operators, of which each has a finalizer: together they take 30 ms of each rank.
    for finalizer in list(weakref.finalize._registry):
        alive = finalizer.peek()
        if alive is not None and alive[1].__module__.partition(".")[0] == "torch":
            finalizer.atexit = False
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def _sendable(error: Exception) -> Exception:
    try:
        cloudpickle.loads(cloudpickle.dumps(error))
    except Exception:
        return RuntimeError(f"{type(error).__name__}: {error}")
    return error


def main() -> None:
    _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    # For the rewritten assert statements of test functions.
    import _pytest.assertion.rewrite  # noqa: F401
    import torch

    import rueda as hvd

    for name in hvd.__all__:
        getattr(hvd, name)
    # The first optimizer of a process imports PyTorch's compiler.
    torch.optim.SGD([torch.nn.Parameter(torch.ones(1))], lr=0.1).zero_grad()
    # Collections in ranks shall not touch, and so copy, what they share with this process.
    gc.freeze()
    serve(socket.socket(fileno=int(sys.argv[1])))


if __name__ == "__main__":
    main()
