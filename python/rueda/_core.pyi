from collections.abc import Callable, Mapping, Sequence
from typing import Any

version: str

class OptionInfo:
    name: str
    kind: str
    default: str
    range: str
    meaning: str
    set_by_launcher: bool

class Config:
    backend: str
    reducer_bucket_bytes: int
    reducer_first_bucket_bytes: int
    reducer_sizes_given: bool
    reducer_learn: int
    arena_bytes: int
    timeline: str
    timeline_mark_cycles: int
    dynamic_process_sets: int
    start_timeout_seconds: float
    rendezvous: str

class PeerName:
    def __init__(self, host: str, pid: int) -> None: ...

class Topology:
    def __init__(
        self,
        *,
        rank: int,
        size: int,
        local_rank: int,
        local_size: int,
        cross_rank: int,
        cross_size: int,
        peers: Sequence[PeerName],
    ) -> None: ...

class Engine:
    backend: str
    @staticmethod
    def start(
        *,
        topology: Topology,
        config: Config,
        arena_fds: Sequence[int],
        pidfds: Sequence[int],
        stream_fds: Sequence[int],
        control_fds: Sequence[int],
    ) -> Engine: ...
    def stop(self, reason: str = ...) -> None: ...
    def start_timeline(self, path: str, mark_frames: bool) -> None: ...
    def stop_timeline(self) -> None: ...
    def abandon_in_forked_child(self) -> None: ...
    def capsule(self) -> object: ...

class Shortcut:
    """A function, and what is called instead: that comes back to it with NotImplemented."""

    direct: Callable[..., Any] | None
    __name__: str
    def __init__(self, function: Callable[..., Any]) -> None: ...
    def __call__(self, *arguments: Any, **keywords: Any) -> Any: ...

def list_options() -> list[OptionInfo]: ...
def parse_config(variables: Mapping[str, str]) -> tuple[Config, list[str]]: ...
def create_arena(config: Config, size: int) -> int: ...
