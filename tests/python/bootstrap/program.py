"""One rank: finds its world, meets the others, exchanges a byte with each and reports in JSON."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import select
import socket
import sys

from rueda._environment import environment
from rueda._rendezvous import meet
from rueda._secret import SecretKeeper
from rueda._world import detect_world


def heard_from(streams: list[int]) -> list[int]:
    """Send one byte to every rank; return the ranks whose byte came."""
    heard = []
    for rank, descriptor in enumerate(streams):
        if descriptor >= 0:
            with socket.socket(fileno=os.dup(descriptor)) as stream:
                stream.send(b"x")
                select.select([stream], [], [], 30)
                if stream.recv(2) == b"x":
                    heard.append(rank)
    return heard


def main() -> None:
    env = environment()
    world = detect_world(env, socket.gethostname())
    arena = os.memfd_create("arena-of-program", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    os.ftruncate(arena, 8192)
    fcntl.fcntl(arena, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW)
    meeting = meet(
        world,
        arena_fd=arena,
        facts={"RUEDA_BACKEND": "shm"},
        version="0.1.0",
        secret=SecretKeeper().secret(env),
        rendezvous=env.get("RUEDA_RENDEZVOUS"),
        epoch=1,
        deadline_seconds=60,
    )
    report = {
        "rank": world.rank,
        "pid": os.getpid(),
        "launcher": world.launcher,
        "roster_pids": [peer.pid for peer in meeting.roster],
        "heard": heard_from(meeting.stream_fds),
        "secret_hash": hashlib.sha256(b"test" + meeting.secret).hexdigest(),
    }
    # One write, so that the lines of several ranks in one pipe stay whole.
    os.write(1, json.dumps(report).encode() + b"\n")
    if "--hold" in sys.argv:
        sys.stdin.read()
    meeting.close()


if __name__ == "__main__":
    main()
