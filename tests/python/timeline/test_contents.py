"""What ranks do is in the trace: each request once, with name, bytes, set, bucket and frame."""

from __future__ import annotations

from collections import Counter, defaultdict

import pytest
import torch
import traces

import rueda as hvd

_ROADS = [("shm", 1), ("shm", 2), ("shm", 3), ("shm", 4), ("gloo", 2), ("gloo", 3)]


def _known_program(path):
    """Make one call of each kind; return what this rank submitted, as kind, name and bytes."""
    own, size = hvd.rank(), hvd.size()
    evens = hvd.add_process_set(list(range(0, size, 2))) if size > 1 else None
    hvd.start_timeline(path, mark_cycles=True)
    hvd.barrier()
    made = []

    def note(kind, name, *tensors):
        made.append((kind, name, sum(t.numel() * t.element_size() for t in tensors)))

    for step in range(3):
        handles = []
        for i in range(20):
            tensor = torch.full((i + 1,), float(own))
            note("allreduce", f"small.{i}", tensor)
            handles.append(hvd.allreduce_async(tensor, name=f"small.{i}", op=hvd.Sum))
        group = [torch.ones(1000), torch.ones(7, dtype=torch.int64)]
        note("allreduce", "group", *group)
        handles.append(hvd.grouped_allreduce_async(group, name="group", op=hvd.Sum))
        for handle in handles:
            hvd.synchronize(handle)
        large = torch.ones(700_000)
        note("allreduce", "large", large)
        hvd.allreduce_(large, name="large", op=hvd.Sum)
        rows = torch.ones(own + 1, 5)
        note("allgather", "rows", rows)
        hvd.allgather(rows, name="rows")
        note("broadcast", 'he said "\u00fc"\n', torch.ones(30))
        hvd.broadcast(torch.ones(30), 0, name='he said "\u00fc"\n')
        note("alltoall", "all", torch.ones(size * 2))
        hvd.alltoall(torch.ones(size * 2), name="all")
        if evens is not None and evens.included():
            note("allreduce", "evens", torch.ones(3))
            hvd.allreduce(torch.ones(3), name="evens", op=hvd.Sum, process_set=evens)
        if size > 1:
            note("allreduce", f"wrong.{step}", torch.ones(own + 1))
            with pytest.raises(hvd.HorovodInternalError):
                hvd.allreduce(torch.ones(own + 1), name=f"wrong.{step}", op=hvd.Sum)
    hvd.barrier()
    hvd.stop_timeline()
    return made


@pytest.mark.parametrize(("backend", "size"), _ROADS)
def test_everything_that_was_submitted_is_in_the_trace(run_ranks, tmp_path, backend, size):
    path = tmp_path / "trace.json"
    env = {"RUEDA_DYNAMIC_PROCESS_SETS": "1", "RUEDA_BACKEND": backend}
    made = run_ranks(size, _known_program, path, env=env)
    trace = traces.Trace(path)
    assert trace.problems(size) == []
    for rank in range(size):
        found = Counter(
            (s.args["op"], s.args["tensor"], s.args["bytes"])
            for s in trace.of("request", rank)
            if s.args["op"] != "barrier"
        )
        assert found == Counter(made[rank])
        assert trace.metadata[rank]["dropped_spans"] == 0
        assert trace.metadata[rank]["complete"]
        wrong = {s.args["tensor"]: s.args.get("error") for s in trace.of("request", rank)}
        assert size == 1 or wrong["wrong.1"] == "R201"
        # One rank may be done before anybody waits.
        assert size == 1 or [s for s in trace.of("wait", rank) if s.args["tensor"] == "large"]


@pytest.mark.parametrize(("backend", "size"), _ROADS)
def test_the_buckets_of_a_set_hold_the_bytes_of_its_requests(run_ranks, tmp_path, backend, size):
    path = tmp_path / "trace.json"
    env = {"RUEDA_DYNAMIC_PROCESS_SETS": "1", "RUEDA_BACKEND": backend}
    run_ranks(size, _known_program, path, env=env)
    trace = traces.Trace(path)
    asked: dict[tuple[int, int, str], int] = defaultdict(int)
    moved: dict[tuple[int, int, str], int] = defaultdict(int)
    for span in trace.of("request"):
        if "error" not in span.args and span.args["bytes"]:
            asked[span.rank, span.args["process_set"], span.args["op"]] += span.args["bytes"]
    for span in trace.of("collective"):
        if span.args["bytes"]:
            moved[span.rank, span.args["process_set"], span.args["op"]] += span.args["bytes"]
    assert asked == moved
    # Buckets are counted alike on all ranks, and frames are the same everywhere.
    by_rank = [
        [
            (s.args["bucket"], s.args["frame"], s.args["tensors"])
            for s in trace.of("collective", rank)
            if s.args["process_set"] == 0
        ]
        for rank in range(size)
    ]
    # A slow rank still runs the last barrier when rank 0 begins, or ends.
    first, last = max(one[0] for one in by_rank), min(one[-1] for one in by_rank)
    common = {tuple(bucket for bucket in one if first <= bucket <= last) for one in by_rank}
    assert [len(one) for one in common] == [last[0] - first[0] + 1]
    assert all(one == sorted(one) for one in by_rank)
    for rank in range(size):
        marks = [args["frame"] for of_rank, args in trace.marks if of_rank == rank]
        assert marks == sorted(marks)
        # A bucket may be under way when the rank hears of the start, its frame taken in before.
        frames = {s.args["frame"] for s in trace.of("collective", rank)}
        assert {frame for frame in frames if frame >= marks[0]} <= set(marks)


def test_staged_tensors_show_their_copies(run_ranks, tmp_path):
    path = tmp_path / "trace.json"
    for backend in ("shm", "gloo"):
        env = {"RUEDA_DYNAMIC_PROCESS_SETS": "1", "RUEDA_BACKEND": backend}
        run_ranks(2, _known_program, path, env=env)
        trace = traces.Trace(path)
        for rank in range(2):
            copied: Counter[str] = Counter()
            for span in trace.of("copy", rank):
                copied[span.name] += span.args["bytes"]
            # How much is copied depends on what was fused with what.
            assert min(copied["copy in"], copied["copy out"]) > 0, (backend, copied)


def test_gradients_of_an_optimizer_are_buckets_in_place(run_ranks, tmp_path):
    def main(path):
        model = torch.nn.Sequential(*(torch.nn.Linear(64, 64) for _ in range(6)))
        optimizer = hvd.DistributedOptimizer(
            torch.optim.SGD(model.parameters(), lr=0.1), named_parameters=model.named_parameters()
        )
        hvd.start_timeline(path)
        hvd.barrier()
        for _ in range(5):
            model(torch.ones(3, 64)).sum().backward()
            optimizer.step()
            optimizer.zero_grad()
        hvd.stop_timeline()

    path = tmp_path / "trace.json"
    run_ranks(2, main, path)
    trace = traces.Trace(path)
    assert trace.problems(2) == []
    for rank in range(2):
        # Beside the gradients a few bytes travel once, staged.
        spans = [s for s in trace.of("collective", rank) if s.args["dtype"] == "float32"]
        assert len(spans) >= 5
        assert all(span.args["in_place"] for span in spans)
        assert sum(s.args["bytes"] for s in spans) >= 5 * 6 * (64 * 64 + 64) * 4


def test_a_late_rank_is_named_by_rank_0(run_ranks, tmp_path):
    def main(path):
        hvd.start_timeline(path)
        hvd.barrier()
        for late in (2, 0, 1):
            handle = None
            if hvd.rank() != late:
                handle = hvd.allreduce_async(torch.ones(2), name=f"late.{late}")
            # Waits for nothing but time: the others' offers travel first.
            hvd.barrier()
            if hvd.rank() == late:
                handle = hvd.allreduce_async(torch.ones(2), name=f"late.{late}")
            hvd.synchronize(handle)
        hvd.stop_timeline()

    path = tmp_path / "trace.json"
    run_ranks(3, main, path)
    trace = traces.Trace(path)
    told = {
        request.args["tensor"]: phases["negotiation"].args
        for request, phases in trace.requests()
        if request.rank == 0 and request.args["tensor"].startswith("late")
    }
    assert {name: args["last_rank"] for name, args in told.items()} == {
        "late.0": 0,
        "late.1": 1,
        "late.2": 2,
    }
    assert all(args["last_after_first_us"] > 0 for args in told.values())
