"""Train on through failures: from the last commit with the same ranks, else from a checkpoint.

    ruedarun -np 3 examples/elastic_training.py --fail-at 12
    torchrun --nproc-per-node 3 --max-restarts 1 examples/elastic_training.py \
        --die-at 40 --checkpoint /tmp/elastic.pt

In the first job the last rank fails in step 12: all ranks go back to the last commit and go on. In
the second one it dies in step 40: nobody can bring it back but torchrun, which starts all ranks
again, and they go on from the checkpoint. Either way the weights are those of a job without
trouble.
"""

from __future__ import annotations

import argparse
import os
import signal
from pathlib import Path

import torch
from torch.utils.data import DataLoader, TensorDataset

import rueda as hvd

POINTS, BATCH = 480, 8


def make_data() -> TensorDataset:
    """Return points (x, y) with y = 3 a - 2 b + 0.5 c + 1 and a little noise."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(POINTS, 3, generator=generator)
    noise = 0.01 * torch.randn(POINTS, 1, generator=generator)
    return TensorDataset(x, x @ torch.tensor([[3.0], [-2.0], [0.5]]) + 1 + noise)


def trouble(step: int, options: argparse.Namespace, is_first_time: bool) -> None:
    """Fail or die on the last rank, when the command line asks for it."""
    if hvd.rank() != hvd.size() - 1 or not is_first_time:
        return
    if step == options.fail_at:
        raise hvd.HorovodInternalError(f"rank {hvd.rank()} was asked to fail")
    if step == options.die_at:
        os.kill(os.getpid(), signal.SIGKILL)


def save(state: hvd.elastic.TorchState, path: Path) -> None:
    """Write what a restarted job needs; a reader finds the old file or the new one, never half."""
    parts = {name: getattr(state, name).state_dict() for name in ("model", "optimizer", "sampler")}
    torch.save({**parts, "step": state.step}, path.with_suffix(".new"))
    path.with_suffix(".new").replace(path)


def load(state: hvd.elastic.TorchState, path: Path) -> None:
    """Read what ``save`` wrote; rank 0 alone does it, for the state is sent to the others."""
    parts = torch.load(path)
    for name in ("model", "optimizer", "sampler"):
        getattr(state, name).load_state_dict(parts[name])
    state.step = parts["step"]


def read_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--fail-at", type=int, help="the step in which the last rank fails")
    parser.add_argument("--die-at", type=int, help="the step in which the last rank dies")
    parser.add_argument("--checkpoint", type=Path, help="where rank 0 saves each epoch")
    return parser.parse_args()


def main() -> None:
    options = read_options()
    hvd.init()
    torch.manual_seed(hvd.rank())
    data = make_data()
    model = torch.nn.Linear(3, 1)
    optimizer = hvd.DistributedOptimizer(
        torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9),
        named_parameters=model.named_parameters(),
    )
    sampler = hvd.elastic.ElasticSampler(data)
    state = hvd.elastic.TorchState(model, optimizer, sampler=sampler, step=0)
    checkpoint: Path | None = options.checkpoint
    has_checkpoint = checkpoint is not None and checkpoint.exists()
    if checkpoint is not None and has_checkpoint and hvd.rank() == 0:
        load(state, checkpoint)
    calls: list[int] = []

    @hvd.elastic.run
    def train(state: hvd.elastic.TorchState) -> None:
        calls.append(state.step)
        is_first_time = len(calls) == 1 and not has_checkpoint
        loader = DataLoader(data, batch_size=BATCH, sampler=sampler)
        while sampler.epoch < options.epochs:
            for number, (x, y) in enumerate(loader):
                optimizer.zero_grad()
                torch.nn.functional.mse_loss(model(x), y).backward()
                trouble(state.step, options, is_first_time)
                optimizer.step()
                sampler.record_batch(number, len(x))
                state.step += 1
                state.commit()
            sampler.set_epoch(sampler.epoch + 1)
            if checkpoint is not None and hvd.rank() == 0:
                save(state, checkpoint)

    try:
        train(state)
    except hvd.HorovodInternalError:
        # A rank is gone for good. The state is at its last commit.
        if checkpoint is not None and hvd.rank() == 0:
            save(state, checkpoint)
        raise

    weights = torch.cat([parameter.detach().flatten() for parameter in model.parameters()])
    everyones = hvd.allgather(weights.unsqueeze(0))
    if hvd.rank() == 0:
        same = "yes" if bool((everyones == everyones[0]).all()) else "no"
        print(f"began at step {calls[0]}, and {len(calls) - 1} times anew")
        print(f"weights after {state.step} steps: {weights.tolist()}")
        print(f"identical on all {hvd.size()} ranks: {same}")


if __name__ == "__main__":
    main()
