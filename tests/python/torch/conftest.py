"""Jobs of several ranks inside one process: real engines, ranks as threads."""

from __future__ import annotations

import copy
import faulthandler
import os
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

import pytest

torch = pytest.importorskip("torch")

from rueda import _core, _torch  # noqa: E402

_DEADLINE_SECONDS = 60.0
_Result = TypeVar("_Result")


class World:
    """The ranks of one job, each with an engine and operations of its own."""

    def __init__(self, size: int, **variables: str) -> None:
        config, _ = _core.parse_config(variables)
        arenas = [_core.create_arena(config, size) for _ in range(size)]
        streams = _socket_mesh(size)
        peers = [_core.PeerName("here", os.getpid()) for _ in range(size)]
        self.size = size

        def start(rank: int) -> Any:
            return _core.Engine.start(
                topology=_core.Topology(
                    rank=rank,
                    size=size,
                    local_rank=rank,
                    local_size=size,
                    cross_rank=0,
                    cross_size=1,
                    peers=peers,
                ),
                config=config,
                arena_fds=[os.dup(arena) for arena in arenas],
                pidfds=[-1 if peer == rank else os.pidfd_open(os.getpid()) for peer in range(size)],
                stream_fds=streams[rank],
                control_fds=[],
            )

        self.engines = self.run(start)
        for arena in arenas:
            os.close(arena)
        self.operations = [_torch.Operations(engine.capsule()) for engine in self.engines]

    def run(self, rank_main: Callable[[int], _Result]) -> list[_Result]:
        """Run ``rank_main(rank)`` on a thread a rank; raise the first error, or at the deadline."""
        results: list[Any] = [None] * self.size
        errors: list[BaseException | None] = [None] * self.size

        def main(rank: int) -> None:
            try:
                results[rank] = rank_main(rank)
            except BaseException as error:
                errors[rank] = error

        threads = [
            threading.Thread(target=main, args=(rank,), name=f"rank {rank}", daemon=True)
            for rank in range(self.size)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(_DEADLINE_SECONDS)
            if thread.is_alive():
                faulthandler.dump_traceback(sys.__stderr__)
                pytest.fail(f"{thread.name} did not finish within {_DEADLINE_SECONDS:.0f} s")
        for error in errors:
            if error is not None:
                raise error
        return results

    def reducer(self, rank: int, model: torch.nn.Module, **options: Any) -> _torch.GradientReducer:
        """A reducer of all the model's parameters."""
        named = list(model.named_parameters())
        return _torch.GradientReducer(
            self.engines[rank].capsule(),
            [parameter for _, parameter in named],
            [name for name, _ in named],
            **options,
        )

    def stop(self) -> None:
        self.run(lambda rank: self.engines[rank].stop())
        for operations in self.operations:
            operations.drop_finished()


def _socket_mesh(size: int) -> list[list[int]]:
    mesh = [[-1] * size for _ in range(size)]
    for low in range(size):
        for high in range(low + 1, size):
            ends = socket.socketpair()
            mesh[low][high], mesh[high][low] = (end.detach() for end in ends)
    return mesh


class Replicas:
    """The same model on every rank of a world, each with a reducer, and a step on all of them."""

    def __init__(
        self, world: World, make_model: Callable[[], torch.nn.Module], **options: Any
    ) -> None:
        self.world = world
        first = make_model()
        self.models = [first]
        for _ in range(world.size - 1):
            model = make_model()
            model.load_state_dict(first.state_dict())
            self.models.append(model)
        self.reducers = [
            world.reducer(rank, model, **options) for rank, model in enumerate(self.models)
        ]

    def backward(self, inputs: list[torch.Tensor]) -> None:
        """One backward pass a rank of the sum of the squared outputs, without synchronising."""
        self.world.run(lambda rank: self.models[rank](inputs[rank]).square().sum().backward())

    def synchronize(self) -> None:
        self.world.run(lambda rank: self.reducers[rank].synchronize())

    def gradients(self, rank: int = 0) -> dict[str, torch.Tensor | None]:
        return {name: p.grad for name, p in self.models[rank].named_parameters()}

    def assert_all_ranks_have(self, expected: dict[str, torch.Tensor]) -> None:
        """Bit for bit."""
        for rank in range(self.world.size):
            gradients = self.gradients(rank)
            assert gradients.keys() == expected.keys()
            for name, gradient in gradients.items():
                assert gradient is not None, f"{name} on rank {rank}"
                assert torch.equal(gradient, expected[name]), f"{name} on rank {rank}"


@pytest.fixture
def replicas() -> type[Replicas]:
    return Replicas


def _plain_gradients(model: torch.nn.Module, *inputs: torch.Tensor) -> dict[str, torch.Tensor]:
    twin = copy.deepcopy(model)
    for parameter in twin.parameters():
        parameter.grad = None
    for one in inputs:
        twin(one).square().sum().backward()
    return {
        name: torch.zeros_like(p) if p.grad is None else p.grad
        for name, p in twin.named_parameters()
    }


@pytest.fixture
def plain_gradients() -> Callable[..., dict[str, torch.Tensor]]:
    """What PyTorch alone computes for ``Replicas.backward``, summed over the inputs."""
    return _plain_gradients


@pytest.fixture
def make_world() -> Iterator[Callable[..., World]]:
    """Start jobs that are stopped when the test ends."""
    worlds: list[World] = []

    def make(size: int, **variables: str) -> World:
        worlds.append(World(size, **variables))
        return worlds[-1]

    yield make
    for world in worlds:
        world.stop()


@pytest.fixture
def pair(make_world: Callable[..., World]) -> World:
    """A job of two ranks."""
    return make_world(2)


def _tree_sum(tensors: list[torch.Tensor]) -> torch.Tensor:
    if len(tensors) == 1:
        return tensors[0]
    middle = 1 << ((len(tensors) - 1).bit_length() - 1)
    return _tree_sum(tensors[:middle]) + _tree_sum(tensors[middle:])


@pytest.fixture
def average() -> Callable[[list[dict[str, torch.Tensor]]], dict[str, torch.Tensor]]:
    """The canonical average of each rank's gradients: sum(lo, hi) = sum(lo, mid) + sum(mid, hi)."""

    def over_ranks(ranks: list[dict[str, torch.Tensor]]) -> dict[str, torch.Tensor]:
        return {name: _tree_sum([one[name] for one in ranks]) / len(ranks) for name in ranks[0]}

    return over_ranks
