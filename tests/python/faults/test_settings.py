"""Wrong settings: said in words before anything is started."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest
import torch

import rueda as hvd


@pytest.mark.parametrize(
    ("name", "nearest"),
    [
        ("RUEDA_FUSION_TRESHOLD", "RUEDA_FUSION_THRESHOLD"),
        ("RUEDA_BACKENDS", "RUEDA_BACKEND"),
        ("RUEDA_TIMEOUT", "RUEDA_TIMEOUT_SECONDS"),
        ("RUEDA_LOGLEVEL", "RUEDA_LOG_LEVEL"),
    ],
)
def test_an_unknown_variable_is_a_warning_that_names_the_nearest(start_ranks, name, nearest):
    def main():
        return hvd.allreduce(torch.ones(1), op=hvd.Sum).item()

    job = start_ranks(2, main, interactive=False, env={name: "1"})
    assert job.results() == [2.0, 2.0]
    warning = (
        f"[rueda, rank 0] warning: unknown variable {name} is ignored; did you mean {nearest}?"
    )
    assert warning in job.output(0)
    # Once, not from every rank.
    assert name not in job.output(1)


@pytest.mark.parametrize(
    ("name", "value", "text"),
    [
        ("RUEDA_BACKEND", "nccl", r"shm.*gloo"),
        ("RUEDA_BACKEND", "", r"shm.*gloo"),
        ("RUEDA_FUSION_THRESHOLD", "0", "1"),
        ("RUEDA_FUSION_THRESHOLD", "-5", "-5"),
        ("RUEDA_FUSION_THRESHOLD", "lots", "lots"),
        ("RUEDA_FUSION_THRESHOLD", "99999999999999999999", "99999999999999999999"),
        ("RUEDA_CACHE_CAPACITY", "1.5", "1.5"),
        ("RUEDA_LINGER_US", "2000000", "2000000"),
        ("RUEDA_ONE_SHOT_BYTES", "16385", "16 KiB"),
        ("RUEDA_TIMEOUT_SECONDS", "0", "0"),
        ("RUEDA_TIMEOUT_SECONDS", "nan", "nan"),
        ("RUEDA_TIMEOUT_SECONDS", "ten", "ten"),
        ("RUEDA_START_TIMEOUT_SECONDS", "-1", "-1"),
        ("RUEDA_LOG_LEVEL", "loud", r"trace.*fatal"),
        ("RUEDA_SECRET_FILE", "/nowhere/secret", "/nowhere/secret"),
        ("RUEDA_SECRET_FD", "99", "99"),
        ("RANK", "2", "rank 2 is not below size 2"),
        ("RANK", "two", "RANK='two'"),
        ("WORLD_SIZE", "0", "is not below"),
        ("LOCAL_RANK", "5", "local rank 5 is not below local size 2"),
    ],
)
def test_a_wrong_value_is_an_error_before_anything_is_started(run_ranks, name, value, text):
    def main():
        before = sorted(Path("/proc/self/fd").iterdir())
        with pytest.raises(ValueError, match=text) as caught:
            hvd.init()
        assert name in str(caught.value)
        assert not hvd.is_initialized()
        assert sorted(Path("/proc/self/fd").iterdir()) == before
        assert threading.active_count() == len(list(Path("/proc/self/task").iterdir())) == 1
        return True

    # Alone: the other ranks of its world are not there, and are not waited for.
    place = {"RANK": "0", "WORLD_SIZE": "2", "LOCAL_RANK": "0", "LOCAL_WORLD_SIZE": "2"}
    run_ranks(1, main, init=False, env={**place, name: value})


def test_settings_that_must_be_equal_are_compared(start_ranks):
    def main():
        with pytest.raises(hvd.HorovodInternalError) as caught:
            hvd.init()
        return str(caught.value)

    for name in ("RUEDA_ARENA_BYTES", "RUEDA_REDUCER_BUCKET_BYTES", "RUEDA_BACKEND"):
        own = {"RUEDA_ARENA_BYTES": ("1GiB", "2GiB"), "RUEDA_BACKEND": ("shm", "gloo")}
        first, second = own.get(name, ("1000000", "2000000"))
        env = [{name: first}, {name: first}, {name: second}]
        job = start_ranks(3, main, init=False, interactive=False, env=env)
        texts = job.results()
        assert len(set(texts)) == 1
        assert name in texts[0]


def test_a_name_that_is_no_rueda_variable_is_left_alone(start_ranks):
    def main():
        return os.environ["MY_RUEDA_THING"]

    job = start_ranks(1, main, interactive=False, env={"MY_RUEDA_THING": "1", "RUEDAX": "2"})
    assert job.results() == ["1"]
    assert "warning" not in job.output(0)
