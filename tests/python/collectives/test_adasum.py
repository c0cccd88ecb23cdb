"""op=Adasum: orthogonal vectors are added, parallel ones averaged, the same bits on all ranks."""

from __future__ import annotations

import pytest
import torch

import rueda as hvd


def _pair(a, b):
    dot, aa, bb = (a * b).sum(), (a * a).sum(), (b * b).sum()
    first = 1 - dot / (2 * aa) if aa else 1
    second = 1 - dot / (2 * bb) if bb else 1
    return first * a + second * b


def _model(vectors):
    """The algorithm in float64: ranks beyond a power of two fold in first, then a balanced tree."""
    vectors = [v.double() for v in vectors]
    power = 1
    while power * 2 <= len(vectors):
        power *= 2
    for i, extra in enumerate(vectors[power:]):
        vectors[i] = _pair(vectors[i], extra)
    return _tree(vectors[:power])


def _tree(vectors):
    if len(vectors) == 1:
        return vectors[0]
    half = len(vectors) // 2
    return _pair(_tree(vectors[:half]), _tree(vectors[half:]))


def _vector(rank, shape, dtype):
    generator = torch.Generator().manual_seed(rank)
    common = torch.linspace(-1, 1, int(torch.tensor(shape).prod())).view(shape)
    return (torch.randn(shape, generator=generator) + common).to(dtype)


@pytest.mark.parametrize(
    ("dtype", "bound"),
    [(torch.float64, 1e-12), (torch.float32, 1e-6), (torch.float16, 2e-3), (torch.bfloat16, 2e-2)],
)
@pytest.mark.parametrize("size", [1, 2, 3, 4])
def test_it_is_the_papers_tree(run_ranks, size, dtype, bound):
    def main():
        results = []
        for shape in [(1,), (7,), (3, 5), (4097,), (9000, 2)]:
            found = hvd.allreduce(_vector(hvd.rank(), shape, dtype), op=hvd.Adasum)
            expected = _model([_vector(rank, shape, dtype) for rank in range(size)])
            assert found.shape == torch.Size(shape)
            assert found.dtype == dtype
            assert torch.allclose(found.double(), expected, rtol=bound, atol=bound)
            results.append(found)
        return results

    first, *others = run_ranks(size, main)
    for other in others:
        assert all(torch.equal(one, two) for one, two in zip(first, other, strict=True))


def test_orthogonal_vectors_add_and_parallel_ones_average(run_ranks):
    def main():
        unit = torch.zeros(4)
        unit[hvd.rank()] = 1.0 + hvd.rank()
        assert hvd.allreduce(unit, op=hvd.Adasum).tolist() == [1.0, 2.0, 3.0, 4.0]
        assert hvd.allreduce(torch.full((3,), 5.0), op=hvd.Adasum).eq(5).all()
        zeros = torch.zeros(3) if hvd.rank() else torch.ones(3)
        assert hvd.allreduce(zeros, op=hvd.Adasum).eq(1).all()
        assert not hvd.allreduce(torch.zeros(3), op=hvd.Adasum).any()

    run_ranks(4, main)


def test_every_form_of_allreduce(run_ranks):
    def main():
        own = torch.arange(6.0).view(2, 3).t() * (hvd.rank() + 1)
        expected = _model([torch.arange(6.0).view(2, 3).t() * (r + 1) for r in range(2)]).float()

        def check(found, factor=1.0):
            assert torch.allclose(found, expected * factor, rtol=1e-6)

        before = own.clone()
        check(hvd.allreduce(own, op=hvd.Adasum))
        assert torch.equal(own, before)
        handle = hvd.allreduce_async(own, name="x", op=hvd.Adasum, postscale_factor=0.5)
        check(hvd.synchronize(handle), 0.5)
        assert hvd.synchronize(handle) is None
        check(hvd.allreduce(own, op=hvd.Adasum, prescale_factor=2.0), 2.0)
        in_place = own.clone()
        assert hvd.allreduce_(in_place, op=hvd.Adasum) is in_place
        check(in_place)
        second = own.clone()
        handle = hvd.allreduce_async_(second, op=hvd.Adasum)
        assert hvd.synchronize(handle) is second
        check(second)
        many = hvd.grouped_allreduce([own, own.double()], op=hvd.Adasum)
        check(many[0])
        check(many[1].float())
        group = [own.clone(), own.clone()]
        for found, given in zip(hvd.grouped_allreduce_(group, op=hvd.Adasum), group, strict=True):
            assert found is given
            check(given)
        check(hvd.allreduce(own, op=hvd.Adasum, compression=hvd.Compression.fp16).float())

    run_ranks(2, main)


def test_what_is_refused(run_ranks):
    def main():
        with pytest.raises(
            ValueError, match=r"Adasum takes floating-point tensors, not torch.int64"
        ):
            hvd.allreduce(torch.ones(3, dtype=torch.int64), op=hvd.Adasum)
        with pytest.raises(ValueError, match="Adasum"):
            hvd.allreduce(torch.ones(3, requires_grad=True), op=hvd.Adasum)
        with pytest.raises(hvd.HorovodInternalError, match="ranks disagree on the shape"):
            hvd.allreduce(torch.ones(3 + hvd.rank()), op=hvd.Adasum)
        hvd.barrier()

    run_ranks(2, main)
