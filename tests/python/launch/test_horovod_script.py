"""A script written for Horovod, which uses most of its interface, against plain PyTorch."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.nn import functional

SCRIPT = Path(__file__).with_name("horovod_script.py")
DEADLINE_S = 100.0
EPOCHS = 3
BATCH, PASSES, FULL_STEPS, TAIL = 16, 2, 4, 6
SAMPLES = BATCH * FULL_STEPS + TAIL

pytestmark = pytest.mark.timeout(2 * DEADLINE_S)


def reference() -> list[dict[str, Any]]:
    """Return what the script should print, from one process that has never heard of ranks."""
    generator = torch.Generator().manual_seed(7)
    x = torch.randn(SAMPLES, 10, generator=generator)
    y = (x[:, :3] + 0.3 * x[:, 3:6]).argmax(1)
    torch.manual_seed(7)
    model = torch.nn.Sequential(
        torch.nn.Linear(10, 16), torch.nn.BatchNorm1d(16), torch.nn.ReLU(), torch.nn.Linear(16, 3)
    )
    optimizer = torch.optim.SGD(model.parameters(), lr=0.2, momentum=0.9)
    scheduler = torch.optim.lr_scheduler.StepLR(optimizer, step_size=1, gamma=0.8)
    lines: list[dict[str, Any]] = []
    for epoch in range(EPOCHS):
        model.train()
        order = torch.randperm(SAMPLES, generator=torch.Generator().manual_seed(epoch))
        for batch in order.split(BATCH):
            optimizer.zero_grad()
            total = 0.0
            for part in batch.chunk(PASSES):
                loss = functional.cross_entropy(model(x[part]), y[part], reduction="sum") / BATCH
                loss.backward()
                total += loss.item()
            norm = torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            lines.append({"loss": total, "norm": norm.item()})
        scheduler.step()
        model.eval()
        with torch.no_grad():
            scores = model(x)
        guesses = scores.argmax(1)
        val_loss = functional.cross_entropy(scores, y).item()
        confusion = torch.zeros(3, 3)
        confusion.index_put_((y, guesses), torch.tensor(1.0), accumulate=True)
        lines.append(
            {
                "val_loss": val_loss,
                "val_accuracy": (guesses == y).float().mean().item(),
                "confusion": confusion.flatten().tolist(),
                "largest": scores.max().item(),
                "smallest": scores.min().item(),
                "of_sets": val_loss * SAMPLES,
            }
        )
    return lines


def loss_differences(found: list[dict[str, Any]], expected: list[dict[str, Any]]) -> list[float]:
    """Return by how much the loss of each step and the loss after each epoch differ."""
    return [
        abs(one[key] - other[key])
        for one, other in zip(found, expected, strict=True)
        for key in ("loss", "val_loss")
        if key in other
    ]


@pytest.mark.parametrize("size", [2, 4])
def test_a_script_for_horovod_prints_what_one_process_prints(
    start: Callable, report_figure: Callable, size: int
) -> None:
    launcher = start("-np", size, "--as-horovod", SCRIPT, "--epochs", EPOCHS)
    result = launcher.finish(DEADLINE_S)
    assert (result.code, result.err) == (0, "")
    found = [json.loads(line.removeprefix("[0] ")) for line in result.out.splitlines()]
    expected = reference()
    assert len(found) == len(expected) == EPOCHS * (FULL_STEPS + 2)
    differences = loss_differences(found, expected)
    report_figure(
        f"a script for Horovod on {size} ranks: {len(differences)} losses, "
        f"largest difference to one process {max(differences):.1e}"
    )
    for index, (one, other) in enumerate(zip(found, expected, strict=True)):
        assert one.pop("confusion", None) == other.pop("confusion", None), index
        # A sum over all samples is as exact as they are many.
        one["of_sets"] = one.get("of_sets", 0.0) / SAMPLES
        other["of_sets"] = other.get("of_sets", 0.0) / SAMPLES
        assert one == pytest.approx(other, rel=0.0, abs=1e-4), index
    losses = [line["loss"] for line in expected if "loss" in line]
    assert losses[-2] < 0.8 * losses[0]


def test_half_precision_on_the_wire_stays_near(start: Callable) -> None:
    launcher = start("-np", 2, "--as-horovod", SCRIPT, "--epochs", 1, "--fp16-allreduce")
    result = launcher.finish(DEADLINE_S)
    assert (result.code, result.err) == (0, "")
    found = [json.loads(line.removeprefix("[0] ")) for line in result.out.splitlines()]
    expected = reference()[: len(found)]
    assert len(found) == FULL_STEPS + 2
    differences = loss_differences(found, expected)
    # Not one bit of a gradient of the first step has been rounded when its loss is computed.
    assert differences[0] < 1e-6 < max(differences) < 1e-2
