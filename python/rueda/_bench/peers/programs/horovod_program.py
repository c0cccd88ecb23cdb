"""The Horovod side of ``rueda bench``: one rank under horovodrun.

Of rueda's code it knows nothing but the model that training steps are measured with.

``horovod_program.py SOCKET``; external.py has the protocol.
"""

from __future__ import annotations

import functools
import importlib
import itertools
import socket
import sys
import time
from collections.abc import Callable
from typing import Any

import torch

hvd: Any = importlib.import_module("horovod.torch")
_FIRST_STEPS = 2
_OPS = {"sum": hvd.Sum, "average": hvd.Average}


def _call(kind: str, tensors: list[torch.Tensor], op: object) -> Callable[[], object]:
    """Return what a user of horovod.torch would write for this kind of case."""
    names = [f"bench.{tensor.dtype}.{tensor.numel()}.{i}" for i, tensor in enumerate(tensors)]
    if kind == "size":
        return lambda: hvd.allreduce_(tensors[0], name=names[0], op=op)
    if kind == "grouped":
        return lambda: hvd.grouped_allreduce_(tensors, name=names[0], op=op)
    if kind != "async":
        raise ValueError(f"Horovod's program does not do {kind}")

    def each() -> None:
        pairs = zip(tensors, names, strict=True)
        for handle in [hvd.allreduce_async_(tensor, name=name, op=op) for tensor, name in pairs]:
            hvd.synchronize(handle)

    return each


class _Training:
    """The steps of one model, which goes on from request to request."""

    def __init__(self, model: str, products: int) -> None:
        # Only where it is asked for: rueda need not be there for anything else.
        training = importlib.import_module("rueda._bench.training_model")
        known = importlib.import_module("rueda._bench.models").MODELS[model]
        torch.set_num_threads(1)
        made = training.StepModel(known, training.Patterns(known), products, training.Compute())
        optimizer = hvd.DistributedOptimizer(training.descent(made), made.named_parameters())
        self._trainer = training.Trainer(
            made,
            made,
            optimizer,
            keeps=False,
            rank=hvd.rank(),
            averaged=range(hvd.size()),
            size=hvd.size(),
        )

    def answer(self, computes: bool, calls: int) -> str:
        if calls == 0:
            while self._trainer.steps < _FIRST_STEPS:
                self._trainer.step(computes=False)
            return f"ok 0 {self._trainer.wrong()}\n"
        hvd.barrier()
        times = [time.perf_counter()]
        for _ in range(calls):
            self._trainer.step(computes=computes)
            times.append(time.perf_counter())
        single = [after - before for before, after in itertools.pairwise(times)]
        return f"ok {sum(single) / calls} 0 {' '.join(map(str, single))}\n"


@functools.cache
def _training(model: str, products: int) -> _Training:
    return _Training(model, products)


def _train(words: list[str]) -> str:
    _, model, products, computes, calls = words
    return _training(model, int(products)).answer(computes == "1", int(calls))


def _answer(words: list[str]) -> str:
    if words[0] == "train":
        return _train(words)
    _, kind, number, count, dtype, op = words[:6]
    calls, block = int(words[6]), int(words[7])
    tensors = [torch.zeros(int(count), dtype=getattr(torch, dtype)) for _ in range(int(number))]
    call = _call(kind, tensors, _OPS[op])
    if calls == 0:
        for tensor in tensors:
            tensor.fill_(hvd.rank() + 1)
        call()
        total = hvd.size() * (hvd.size() + 1) / 2
        wanted = total if op == "sum" else total / hvd.size()
        return f"ok 0 {sum(int((tensor.double() != wanted).sum()) for tensor in tensors)}\n"
    if calls > 1:
        call()
    hvd.barrier()
    times = []
    began = block_began = time.perf_counter()
    for first in range(0, calls, block):
        in_block = min(block, calls - first)
        for _ in range(in_block):
            call()
        ended = time.perf_counter()
        times.append((ended - block_began) / in_block)
        block_began = ended
    seconds = (time.perf_counter() - began) / calls
    return f"ok {seconds} 0 {' '.join(map(str, times))}\n"


def main() -> None:
    """Serve until rank 0 of the benchmark hangs up."""
    hvd.init()
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(sys.argv[1])
        with connection.makefile("rw") as stream:
            stream.write(f"{hvd.rank()}\n")
            stream.flush()
            for line in stream:
                try:
                    answer = _answer(line.split())
                except Exception as error:  # whatever Horovod raises, the benchmark goes on
                    answer = f"no {type(error).__name__}: {error}".replace("\n", " ")[:200] + "\n"
                stream.write(answer)
                stream.flush()


if __name__ == "__main__":
    main()
