"""A training script for Horovod, run by test_horovod_script.py: nothing in it speaks of rueda.

Its numbers do not depend on how many ranks run it, so one process with the whole batch is the
reference. Rank 0 prints one JSON object a line: each step's loss, and measures after each epoch.
"""

import argparse
import json

import horovod.torch as hvd
import torch
from torch.nn import functional

BATCH, PASSES, FULL_STEPS, TAIL, CLASSES, FEATURES = 16, 2, 4, 6, 3, 10
SAMPLES = BATCH * FULL_STEPS + TAIL


class BatchesOfRank:
    """What DistributedSampler does, but with a tail that is too short for all: rank 0 has it."""

    def __init__(self, size, rank):
        self.size, self.rank, self.epoch = size, rank, 0

    def set_epoch(self, epoch):
        self.epoch = epoch

    def __iter__(self):
        order = torch.randperm(SAMPLES, generator=torch.Generator().manual_seed(self.epoch))
        for batch in order[: BATCH * FULL_STEPS].split(BATCH):
            yield [part[self.rank :: self.size] for part in batch.chunk(PASSES)]
        if self.rank == 0:
            yield order[-TAIL:].chunk(PASSES)


class Metric:
    """A mean over all ranks."""

    def __init__(self, name):
        self.name, self.sum, self.count = name, torch.tensor(0.0), torch.tensor(0.0)

    def update(self, value, count):
        self.sum += value
        self.count += count

    @property
    def average(self):
        pair = hvd.grouped_allreduce([self.sum, self.count], op=hvd.Sum, name=self.name)
        return (pair[0] / pair[1]).item()


def make_model():
    return torch.nn.Sequential(
        torch.nn.Linear(FEATURES, 16),
        hvd.SyncBatchNorm(16),
        torch.nn.ReLU(),
        torch.nn.Linear(16, CLASSES),
    )


def report(**numbers):
    if hvd.rank() == 0:
        print(json.dumps(numbers), flush=True)


def train_epoch(model, optimizer, batches, data, epoch, clip):
    x, y = data
    model.train()
    batches.set_epoch(epoch)
    for step, parts in enumerate(batches):
        optimizer.zero_grad()
        total = torch.tensor(0.0)
        for part in parts:
            # Averaged over the ranks this is the sum over the batch, divided by its full size.
            loss = (
                functional.cross_entropy(model(x[part]), y[part], reduction="sum")
                * hvd.size()
                / BATCH
            )
            loss.backward()
            total += loss.detach()
        optimizer.synchronize()
        norm = torch.nn.utils.clip_grad_norm_(model.parameters(), clip)
        with optimizer.skip_synchronize():
            optimizer.step()
        handle = hvd.allreduce_async(total, name=f"loss.{epoch}.{step}")
        assert isinstance(hvd.poll(handle), bool)
        report(loss=hvd.synchronize(handle).item(), norm=norm.item())
    # Ranks without a part in the tail are here first; the last one has seen all steps.
    last = hvd.join()
    assert last == 0
    hvd.broadcast_parameters(model.state_dict(), root_rank=last)
    hvd.broadcast_optimizer_state(optimizer, root_rank=last)


def validate(model, data, sets):
    x, y = (one[hvd.rank() :: hvd.size()] for one in data)
    model.eval()
    with torch.no_grad():
        scores = model(x)
    loss, accuracy = Metric("val_loss"), Metric("val_accuracy")
    loss.update(functional.cross_entropy(scores, y, reduction="sum"), len(y))
    accuracy.update((scores.argmax(1) == y).float().sum(), len(y))
    # The rows of the ranks one after the other, of different numbers.
    everyones, of_rank = hvd.allgather(scores, name="scores"), hvd.allgather(torch.tensor([len(y)]))
    assert everyones.shape == (SAMPLES, CLASSES) and of_rank.sum() == SAMPLES
    confusion = torch.zeros(4 * CLASSES, CLASSES)
    confusion.index_put_((y, scores.argmax(1)), torch.tensor(1.0), accumulate=True)
    rows = hvd.reducescatter(confusion, op=hvd.Sum, name="confusion")
    whole = hvd.allgather(rows)
    assert whole.sum() == SAMPLES
    # Each rank sends its k-th share to rank k: the samples change hands, none is lost.
    splits = torch.tensor([len(y) // hvd.size()] * hvd.size(), dtype=torch.int32)
    splits[0] += len(y) % hvd.size()
    moved, received = hvd.alltoall(scores, splits=splits, name="exchange")
    assert len(moved) == received.sum()
    moved_sum = hvd.allreduce(moved.double().sum(), op=hvd.Sum, name="moved")
    assert torch.allclose(moved_sum.float(), everyones.sum(), atol=1e-4)
    of_sets = torch.zeros(1)
    for process_set in sets:
        if process_set.included():
            of_set = hvd.allreduce(loss.sum, op=hvd.Sum, process_set=process_set)
            of_sets += of_set / process_set.size()
    hvd.allreduce_(of_sets, op=hvd.Sum)
    report(
        val_loss=loss.average,
        val_accuracy=accuracy.average,
        confusion=whole[:CLASSES].flatten().tolist(),
        largest=hvd.allreduce(scores.max(), op=hvd.Max, name="largest").item(),
        smallest=hvd.allreduce(scores.min(), op=hvd.Min, name="smallest").item(),
        of_sets=of_sets.item() if sets else loss.sum.item(),
    )


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--fp16-allreduce", action="store_true")
    args = parser.parse_args()
    hvd.init(process_sets="dynamic")
    torch.set_num_threads(1)
    settings = {"lr": 0.2, "seed": 7} if hvd.rank() == 0 else None
    settings = hvd.broadcast_object(settings, root_rank=0, name="settings")
    assert hvd.allgather_object(hvd.rank()) == list(range(hvd.size()))
    halves = [list(range(first, hvd.size(), 2)) for first in (0, 1)] if hvd.size() > 1 else []
    sets = [hvd.add_process_set(ranks) for ranks in halves]
    generator = torch.Generator().manual_seed(settings["seed"])
    x = torch.randn(SAMPLES, FEATURES, generator=generator)
    data = (x, (x[:, :CLASSES] + 0.3 * x[:, 3:6]).argmax(1))

    torch.manual_seed(settings["seed"] + hvd.rank())  # other weights on each rank, until broadcast
    model = make_model()
    optimizer = torch.optim.SGD(model.parameters(), lr=settings["lr"], momentum=0.9)
    compression = hvd.Compression.fp16 if args.fp16_allreduce else hvd.Compression.none
    optimizer = hvd.DistributedOptimizer(
        optimizer,
        named_parameters=model.named_parameters(),
        compression=compression,
        backward_passes_per_step=PASSES,
        op=hvd.Average,
    )
    hvd.broadcast_parameters(model.state_dict(), root_rank=0)
    hvd.broadcast_optimizer_state(optimizer, root_rank=0)
    scheduler = torch.optim.lr_scheduler.StepLR(optimizer, step_size=1, gamma=0.8)
    batches = BatchesOfRank(hvd.size(), hvd.rank())
    for epoch in range(args.epochs):
        train_epoch(model, optimizer, batches, data, epoch, clip=1.0)
        scheduler.step()
        validate(model, data, sets)
        hvd.barrier()
    for process_set in sets:
        assert hvd.remove_process_set(process_set)
    hvd.shutdown()


if __name__ == "__main__":
    main()
