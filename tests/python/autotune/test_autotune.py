"""Jobs that search for better limits: results, the file, and giving the file back."""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

import rueda as hvd
from rueda._autotune_result import with_result

FEW = {
    "RUEDA_AUTOTUNE": "1",
    "RUEDA_AUTOTUNE_WARMUP_SAMPLES": "1",
    "RUEDA_AUTOTUNE_STEPS_PER_SAMPLE": "2",
    "RUEDA_AUTOTUNE_BAYES_OPT_MAX_SAMPLES": "5",
}
HEADER = [
    *("sample", "phase", "RUEDA_FUSION_THRESHOLD", "RUEDA_LINGER_US", "steps", "step_bytes"),
    *("step_us", "bytes_per_second"),
]


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        reader = csv.DictReader(file)
        assert reader.fieldnames == HEADER
        return list(reader)


def train(steps: int) -> bool:
    """Reduce some tensors in each step, and compare every result."""
    rank, size = hvd.rank(), hvd.size()
    right = True
    for step in range(steps):
        count = 3000 if step % 7 else 3001  # some steps are of another shape
        handles = [
            hvd.allreduce_async(torch.full((count,), float(rank + i)), name=f"t{i}", op=hvd.Sum)
            for i in range(8)
        ]
        for i, handle in enumerate(handles):
            expected = size * i + size * (size - 1) / 2
            result = hvd.synchronize(handle)
            right &= bool((result == expected).all()) and result.numel() == count
        if step == 20:
            hvd.join()
    return right


@pytest.mark.parametrize("backend", ["shm", "gloo"])
@pytest.mark.parametrize("size", [1, 2, 3, 4])
def test_results_are_right_while_limits_are_searched(
    start_ranks: Callable[..., Any], tmp_path: Path, size: int, backend: str
) -> None:
    log = tmp_path / "tune.csv"
    env = {**FEW, "RUEDA_AUTOTUNE_LOG": str(log), "RUEDA_BACKEND": backend}
    job = start_ranks(size, lambda: train(50), interactive=False, env=env)
    assert job.results() == [True] * size
    rows = rows_of(log)
    assert [row["phase"] for row in rows] == (
        ["warmup", "explore", "explore", "explore", "confirm", "confirm", "result"]
    )
    assert [row["sample"] for row in rows] == ["1", "2", "3", "4", "5", "6", "6"]
    tried = {(row["RUEDA_FUSION_THRESHOLD"], row["RUEDA_LINGER_US"]) for row in rows[:-1]}
    found = (rows[-1]["RUEDA_FUSION_THRESHOLD"], rows[-1]["RUEDA_LINGER_US"])
    assert found in tried
    said = f"RUEDA_FUSION_THRESHOLD={found[0]} RUEDA_LINGER_US={found[1]}."
    assert job.output(0).count("autotune is done after 6 samples") == 1
    assert said in job.output(0)
    for rank in range(1, size):
        assert "autotune" not in job.output(rank)


def test_what_the_user_has_set_stays(start_ranks: Callable[..., Any], tmp_path: Path) -> None:
    log = tmp_path / "tune.csv"
    env = {**FEW, "RUEDA_AUTOTUNE_LOG": str(log), "RUEDA_LINGER_US": "77"}
    assert start_ranks(2, lambda: train(50), interactive=False, env=env).results() == [True] * 2
    rows = rows_of(log)
    assert {row["RUEDA_LINGER_US"] for row in rows} == {"77"}
    assert len({row["RUEDA_FUSION_THRESHOLD"] for row in rows}) > 1
    assert rows[-1]["phase"] == "result"


def test_a_training_with_the_optimizer_is_searched_and_learns(
    start_ranks: Callable[..., Any], tmp_path: Path
) -> None:
    def main() -> list[float]:
        torch.manual_seed(0)
        model = torch.nn.Sequential(torch.nn.Linear(8, 8), torch.nn.ReLU(), torch.nn.Linear(8, 1))
        optimizer = hvd.DistributedOptimizer(
            torch.optim.SGD(model.parameters(), lr=0.05), model.named_parameters()
        )
        inputs = torch.randn(16, 8)
        for step in range(40):
            optimizer.zero_grad()
            loss = (model(inputs) - inputs.sum(1, keepdim=True)).square().mean()
            loss.backward()
            hvd.allreduce(loss.detach(), name="loss")
            hvd.allreduce(torch.tensor(step), name="step", op=hvd.Sum)
            optimizer.step()
        return [p.sum().item() for p in model.parameters()]

    log = tmp_path / "tune.csv"
    tuned, plain = (
        start_ranks(2, main, interactive=False, env=env).results()
        for env in ({**FEW, "RUEDA_AUTOTUNE_LOG": str(log)}, {})
    )
    assert tuned == plain
    assert rows_of(log)[-1]["phase"] == "result"


def test_a_result_is_given_back(start_ranks: Callable[..., Any], tmp_path: Path) -> None:
    log = tmp_path / "tune.csv"
    log.write_text(f"{','.join(HEADER)}\n1,explore,5,6,2,8,1.0,8\n1,result,4096,0,0,8,1.0,8\n")
    again = tmp_path / "again.csv"
    # The other rank has no such file, and needs none.
    own = {"RUEDA_AUTOTUNE_RESULT": str(log), "RUEDA_LINGER_US": "9"}
    env = {**FEW, "RUEDA_AUTOTUNE_LOG": str(again)}
    job = start_ranks(
        2,
        lambda: train(50),
        interactive=False,
        env=[{**env, **own}, {**env, "RUEDA_AUTOTUNE_RESULT": "/no/such/file"}],
    )
    assert job.results() == [True, True]
    assert not again.exists()  # both limits were given, so nothing was searched
    assert with_result({"HOME": "/h", **own}) == {
        **{"HOME": "/h", **own},
        "RUEDA_FUSION_THRESHOLD": "4096",
    }
    assert with_result({"RUEDA_LINGER_US": "9"}) == {"RUEDA_LINGER_US": "9"}


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        (None, "cannot be read"),
        ("", "holds no result"),
        (f"{','.join(HEADER)}\n1,explore,5,6,2,8,1.0,8\n", "until its search was over"),
        (f"{','.join(HEADER)}\n1,result,,,2,8,1.0,8\n", "holds no result"),
        ("phase\nresult\n", "holds no result"),
        ("\udcff", "cannot be read"),
    ],
)
def test_a_file_without_a_result_is_an_error_before_anything_is_started(
    run_ranks: Callable[..., Any], tmp_path: Path, text: str | None, hint: str
) -> None:
    path = tmp_path / "tune.csv"
    if text is not None:
        path.write_bytes(text.encode(errors="surrogateescape"))

    def main() -> bool:
        with pytest.raises(ValueError, match=hint) as caught:
            hvd.init()
        assert str(path) in str(caught.value)
        assert "RUEDA_AUTOTUNE_RESULT" in str(caught.value)
        return not hvd.is_initialized()

    env = {"RUEDA_AUTOTUNE_RESULT": str(path)}
    assert run_ranks(1, main, init=False, env=env) == [True]


def test_a_job_that_ends_early_says_that_nothing_is_decided(
    start_ranks: Callable[..., Any], tmp_path: Path
) -> None:
    log = tmp_path / "tune.csv"
    env = {**FEW, "RUEDA_AUTOTUNE_LOG": str(log)}
    job = start_ranks(2, lambda: train(7), interactive=False, env=env)
    assert job.results() == [True] * 2
    assert "autotune ends without a result after" in job.output(0)
    assert all(row["phase"] != "result" for row in rows_of(log))
