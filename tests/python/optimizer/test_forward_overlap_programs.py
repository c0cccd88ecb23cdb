"""Random programs: with overlap_forward and without it they see and train the same bits."""

from __future__ import annotations

import copy
import random

import pytest
import torch

import rueda as hvd

_OPTIMIZERS = {
    "SGD": lambda groups: torch.optim.SGD(groups, lr=0.01, momentum=0.9),
    "Adam": lambda groups: torch.optim.Adam(groups, lr=0.01),
    "AdamW": lambda groups: torch.optim.AdamW(groups, lr=0.01),
    "RMSprop": lambda groups: torch.optim.RMSprop(groups, lr=0.01),
}
_ALL = range(5)


class _Net(torch.nn.Module):
    """Layers in any order, a weight used by hand or not, one that two layers share."""

    def __init__(self):
        super().__init__()
        self.scale = torch.nn.Parameter(torch.ones(6))
        self.layers = torch.nn.ModuleList([torch.nn.Linear(6, 6) for _ in _ALL])
        self.layers[4].weight = self.layers[0].weight
        self.norm = torch.nn.LayerNorm(6)

    def forward(self, x, order=_ALL, by_hand=False):
        if by_hand:
            x = torch.nn.functional.linear(x, self.layers[2].weight)
        for i in order:
            x = torch.tanh(self.layers[i](x))
        return self.norm(x * self.scale)


class _Run:
    """One program, with what it saw on its way."""

    def __init__(self, seed, overlaps):
        self.chance = random.Random(seed)  # the same choices each time and on all ranks
        chance = self.chance
        torch.manual_seed(seed)
        self.generator = torch.Generator().manual_seed(10 * seed + hvd.rank())
        self.model = _Net()
        parameters = list(self.model.parameters())
        halves = [{"params": parameters[:3]}, {"params": parameters[3:], "lr": 0.03}]
        make = _OPTIMIZERS[chance.choice(sorted(_OPTIMIZERS))]
        self.passes = chance.choice([1, 1, 2])
        self.optimizer = hvd.DistributedOptimizer(
            make(chance.choice([parameters, halves])),
            compression=chance.choice([hvd.Compression.none, hvd.Compression.fp16]),
            groups=chance.choice([None, 1, 3, 20]),
            backward_passes_per_step=self.passes,
            overlap_forward=self.model if overlaps else None,
        )
        self.scheduler = torch.optim.lr_scheduler.ExponentialLR(self.optimizer, 0.8)
        self.by_hand = chance.random() < 0.3
        self.wanders = chance.random() < 0.3
        # A frozen parameter whose gradient is zero and not None is stepped on by PyTorch.
        self.freezes = chance.random() < 0.5
        self.seen = []

    def go(self):
        actions = [self.evaluate, self.look, self.look_at_part, self.look_at_copy, self.schedule]
        actions += [self.change_rates, self.freeze, self.thaw, self.broadcast, self.step_again]
        for _ in range(self.chance.randint(4, 8)):
            self.train()
            for _ in range(self.chance.choice([0, 0, 1, 2])):
                self.chance.choice(actions)()
        self.look()
        state = self.optimizer.state_dict()["state"]
        for index in sorted(state):
            self.seen += [
                torch.as_tensor(v).clone() for v in state[index].values() if v is not None
            ]
        return self.seen

    def train(self):
        order = self.chance.sample(_ALL, self.chance.randint(3, 5)) if self.wanders else _ALL
        for _ in range(self.passes):
            batch = torch.randn(3, 6, generator=self.generator)
            self.model(batch, order, self.by_hand).square().mean().backward()
        self.optimizer.step()
        self.clear()

    def clear(self):
        set_to_none = self.freezes or self.chance.random() < 0.5
        self.chance.choice([self.model, self.optimizer]).zero_grad(set_to_none)

    def step_again(self):
        self.optimizer.step()
        self.clear()

    def evaluate(self):
        self.model.train(self.chance.random() < 0.5)
        with torch.set_grad_enabled(self.chance.random() < 0.5):
            self.seen.append(self.model(torch.ones(1, 6)).detach())
        self.model.train()

    def look(self):
        self.seen += [value.clone() for value in self.model.state_dict().values()]

    def look_at_part(self):
        self.seen.append(self.model.layers[self.chance.choice(_ALL)](torch.ones(1, 6)).detach())

    def look_at_copy(self):
        self.seen += [value.detach() for value in copy.deepcopy(self.model).parameters()]

    def broadcast(self):
        hvd.broadcast_parameters(self.model.named_parameters(), root_rank=0)
        self.seen += [value.detach().clone() for value in self.model.parameters()]

    def schedule(self):
        self.scheduler.step()

    def change_rates(self):
        for group in self.optimizer.param_groups:
            group["lr"] *= 0.5

    def freeze(self):
        if self.freezes:
            self.model.layers[self.chance.choice([1, 2, 3])].requires_grad_(False)

    def thaw(self):
        self.model.requires_grad_(True)


@pytest.mark.timeout(600)
@pytest.mark.filterwarnings("ignore:overlap_forward")
@pytest.mark.parametrize(("size", "backend"), [(2, "shm"), (3, "shm"), (2, "gloo")])
def test_random_programs(run_ranks, full_size, size, backend):
    def main(seeds):
        for seed in seeds:
            usual, overlapped = (_Run(seed, overlaps).go() for overlaps in (False, True))
            assert len(usual) == len(overlapped)
            for place, (one, other) in enumerate(zip(usual, overlapped, strict=True)):
                assert torch.equal(one, other), f"seed {seed}, value {place} of {len(usual)}"

    for first in range(0, 300 if full_size else 20, 20):
        run_ranks(size, main, range(first, first + 20), env={"RUEDA_BACKEND": backend})
