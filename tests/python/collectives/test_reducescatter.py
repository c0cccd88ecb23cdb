"""Reduce-scatter and its group: operations, uneven rows, factors, element types."""

from __future__ import annotations

import pytest
import torch

import rueda as hvd

_OPS = ("Sum", "Average", "Min", "Max", "Product")


def _own_rows(whole, size):
    """This rank's part: as equal as can be, the first ranks one row more."""
    each, more = divmod(whole.shape[0], size)
    rank = hvd.rank()
    first = rank * each + min(rank, more)
    return whole[first : first + each + (rank < more)]


@pytest.mark.parametrize("size", [1, 2, 3, 4])
def test_results_are_the_rows_of_an_allreduce_bit_for_bit(
    run_ranks, all_dtypes, shapes, make_tensor, reduced, same, size
):
    def main():
        for dtype in all_dtypes:
            for shape in shapes[1:]:
                tensors = [make_tensor(rank, shape, dtype) for rank in range(size)]
                own = tensors[hvd.rank()]
                for op in _OPS:
                    what = f"{op} of {dtype} {shape}"
                    found = hvd.reducescatter(own, op=getattr(hvd, op), name=what)
                    same(found, _own_rows(reduced(op, tensors), size), what)
                same(own, make_tensor(hvd.rank(), shape, dtype), "the input is left alone")

    run_ranks(size, main)


@pytest.mark.parametrize("size", [2, 3])
def test_gloo_gives_exact_integers_and_close_floats(
    run_ranks, all_dtypes, complex_dtypes, shapes, make_tensor, reduced, same, size
):
    def main():
        for dtype in [*all_dtypes, *complex_dtypes]:
            exact = not (dtype.is_floating_point or dtype.is_complex)
            for shape in shapes[1:]:
                tensors = [make_tensor(rank, shape, dtype) for rank in range(size)]
                for op in ("Sum", "Average") if dtype.is_complex else _OPS:
                    what = f"{op} of {dtype} {shape}"
                    found = hvd.reducescatter(tensors[hvd.rank()], what, op=getattr(hvd, op))
                    expected = _own_rows(reduced(op, tensors), size)
                    if exact:
                        same(found, expected, what)
                        continue
                    assert found.dtype == dtype
                    # As for allreduce; products stay below 64 here.
                    bound = size * 64 * torch.finfo(dtype).eps
                    assert (found - expected).abs().le(bound).all(), what

    run_ranks(size, main, env={"RUEDA_BACKEND": "gloo"})


@pytest.mark.parametrize("rows", [0, 1, 2, 5, 7])
def test_rows_that_do_not_divide_go_to_the_first_ranks(run_ranks, rows):
    def main():
        own = torch.arange(2.0 * rows).reshape(rows, 2)
        found = hvd.reducescatter(own, op=hvd.Sum)
        assert torch.equal(found, _own_rows(own * 3, 3))
        assert torch.equal(torch.cat([hvd.allgather(found)]), own * 3)

    run_ranks(3, main)


def test_average_is_the_default_and_factors_multiply(run_ranks):
    def main():
        own = torch.full((4,), float(hvd.rank()))
        assert hvd.reducescatter(own).tolist() == [0.5, 0.5]
        assert hvd.synchronize(hvd.reducescatter_async(own, "x")).tolist() == [0.5, 0.5]
        found = hvd.reducescatter(own, op=hvd.Sum, prescale_factor=3.0, postscale_factor=0.5)
        assert found.tolist() == [1.5, 1.5]
        handle = hvd.reducescatter_async(own, op=hvd.Max, prescale_factor=-1.0)
        assert hvd.synchronize(handle).tolist() == [0.0, 0.0]
        # A factor works for a tensor above the fusion threshold, too.
        large = torch.ones(1 << 16)
        found = hvd.reducescatter(large, op=hvd.Sum, prescale_factor=0.5)
        assert found.sum().item() == 1 << 15

    run_ranks(2, main, env={"RUEDA_FUSION_THRESHOLD": "4096"})


def test_compression_is_undone(run_ranks):
    def main():
        own = torch.tensor([1 / 3, 2 / 3, 1.0, 4.0])
        found = hvd.reducescatter(own, compression=hvd.Compression.fp16, op=hvd.Sum)
        assert found.dtype == torch.float32
        expected = (own.half().float() * 2).half().float().split(2)[hvd.rank()]
        assert torch.equal(found, expected)
        grouped = hvd.grouped_reducescatter([own, own], None, hvd.Compression.bf16, op=hvd.Max)
        assert [one.dtype for one in grouped] == [torch.float32] * 2

    run_ranks(2, main)


@pytest.mark.parametrize("backend", ["shm", "gloo"])
def test_a_group_of_several_dtypes_and_shapes(run_ranks, make_tensor, reduced, backend):
    kinds = [
        ((3,), torch.float32),
        ((7, 2), torch.float64),
        ((0, 2), torch.int32),
        ((5,), torch.int64),
    ]

    def main():
        by_rank = [[make_tensor(r, s, d) for s, d in kinds] for r in range(3)]
        expected = [_own_rows(reduced("Sum", list(one)), 3) for one in zip(*by_rank, strict=True)]
        own = by_rank[hvd.rank()]
        for found in (
            hvd.grouped_reducescatter(own, op=hvd.Sum, name="group"),
            hvd.grouped_reducescatter(tuple(own), op=hvd.Sum),
            hvd.synchronize(hvd.grouped_reducescatter_async(own, op=hvd.Sum)),
        ):
            assert isinstance(found, list)
            for one, wanted in zip(found, expected, strict=True):
                assert one.dtype == wanted.dtype
                assert torch.allclose(one, wanted)
        assert hvd.grouped_reducescatter([]) == []

    run_ranks(3, main, env={"RUEDA_BACKEND": backend})


@pytest.mark.parametrize("kind", [ValueError, RuntimeError])
def test_what_horovods_core_refuses_is_an_error_of_its_kind_too(run_ranks, kind):
    def main():
        with pytest.raises(kind, match="has none"):
            hvd.reducescatter(torch.tensor(1.0), op=hvd.Average)
        with pytest.raises(kind, match=r"op=rueda\.Adasum") as caught:
            hvd.reducescatter(torch.ones(4), op=hvd.Adasum)
        # An elastic job would go back to its last commit and do the same again.
        assert not isinstance(caught.value, hvd.HorovodInternalError)

    run_ranks(2, main)


@pytest.mark.parametrize(
    ("call", "text"),
    [
        (lambda: hvd.reducescatter(torch.tensor(1.0)), r"has none; use tensor.reshape\(1\)"),
        (lambda: hvd.reducescatter_async(torch.tensor(1.0)), r"tensor.reshape\(1\)"),
        (lambda: hvd.grouped_reducescatter([torch.ones(2), torch.tensor(1.0)]), "has none"),
        (lambda: hvd.reducescatter(torch.ones(2), op=hvd.Adasum), "op=rueda.Adasum"),
        (lambda: hvd.reducescatter(torch.ones(2), op=9), "op=9 is not an operation"),
        (lambda: hvd.reducescatter(torch.ones(2) * 1j, op=hvd.Min), "no Min"),
        (lambda: hvd.reducescatter(torch.ones(2).to(torch.float8_e5m2)), "moved but not reduced"),
    ],
)
def test_wrong_calls_are_refused(run_ranks, call, text):
    def main():
        with pytest.raises(ValueError, match=text):
            call()
        assert hvd.reducescatter(torch.ones(2), op=hvd.Sum).tolist() == [2.0]

    run_ranks(2, main)
