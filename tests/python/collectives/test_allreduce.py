"""All-reduce: values, dtypes, layouts, forms and arguments."""

from __future__ import annotations

import pytest
import torch

import rueda as hvd

_SIZES = [1, 2, 3, 4]


@pytest.mark.parametrize("size", _SIZES)
def test_results_are_the_canonical_ones_bit_for_bit(
    run_ranks, all_dtypes, shapes, make_tensor, reduced, same, size
):
    def main():
        for dtype in all_dtypes:
            for shape in shapes:
                tensors = [make_tensor(rank, shape, dtype) for rank in range(size)]
                own = tensors[hvd.rank()]
                for op in ("Sum", "Average", "Min", "Max", "Product"):
                    what = f"{op} of {dtype} {shape}"
                    found = hvd.allreduce(own, op=getattr(hvd, op), name=what)
                    same(found, reduced(op, tensors), what)
                same(own, make_tensor(hvd.rank(), shape, dtype), "the input is left alone")

    run_ranks(size, main)


@pytest.mark.parametrize("size", [2, 3])
def test_gloo_gives_exact_integers_and_close_floats(
    run_ranks, all_dtypes, shapes, make_tensor, reduced, same, size
):
    def main():
        for dtype in all_dtypes:
            for shape in shapes:
                tensors = [make_tensor(rank, shape, dtype) for rank in range(size)]
                for op in ("Sum", "Average", "Min", "Max"):
                    what = f"{op} of {dtype} {shape}"
                    found = hvd.allreduce(tensors[hvd.rank()], op=getattr(hvd, op), name=what)
                    if not dtype.is_floating_point:
                        same(found, reduced(op, tensors), what)
                        continue
                    # A sum of n values in another order is off by at most n - 1 roundings of
                    # the largest partial sum; here all are below 16.
                    bound = size * 16 * torch.finfo(dtype).eps
                    assert (found - reduced(op, tensors)).abs().le(bound).all(), what

    run_ranks(size, main, env={"RUEDA_BACKEND": "gloo"})


@pytest.mark.parametrize("backend", ["shm", "gloo"])
def test_complex_tensors_are_added_and_averaged(
    run_ranks, complex_dtypes, shapes, make_tensor, reduced, backend
):
    def main():
        for dtype in complex_dtypes:
            for shape in shapes:
                tensors = [make_tensor(rank, shape, dtype) for rank in range(3)]
                for op in ("Sum", "Average"):
                    own = tensors[hvd.rank()]
                    what = f"{op} of {dtype} {shape}"
                    found = hvd.allreduce(own, op=getattr(hvd, op), name=what)
                    assert found.dtype == dtype
                    assert torch.allclose(found, reduced(op, tensors), rtol=1e-6, atol=1e-6), what
        conjugated = make_tensor(hvd.rank(), (5,), torch.complex64).conj()
        expected = sum(make_tensor(rank, (5,), torch.complex64).conj() for rank in range(3))
        assert torch.allclose(hvd.allreduce(conjugated, op=hvd.Sum), expected)

    run_ranks(3, main, env={"RUEDA_BACKEND": backend})


def test_special_values_come_out_as_in_plain_sums(run_ranks, same):
    def main():
        infinity, nan = float("inf"), float("nan")
        smallest = torch.finfo(torch.float32).smallest_normal
        values = [
            torch.tensor([infinity, infinity, nan, -0.0, smallest / 2, 3e38]),
            torch.tensor([1.0, -infinity, 1.0, -0.0, smallest / 4, 3e38]),
        ]
        torch.set_flush_denormal(hvd.rank() == 1)
        found = hvd.allreduce(values[hvd.rank()], op=hvd.Sum)
        torch.set_flush_denormal(False)
        expected = values[0] + values[1]
        assert torch.equal(found.isnan(), expected.isnan())
        same(found[~found.isnan()], expected[~expected.isnan()])
        assert torch.signbit(found[3])

    run_ranks(2, main)


def test_integers_wrap_around_as_in_pytorch(run_ranks):
    def main():
        large = torch.tensor([127, -128, 100], dtype=torch.int8)
        assert hvd.allreduce(large, op=hvd.Sum).tolist() == [-2, 0, -56]

    run_ranks(2, main)


def test_inputs_of_any_layout_are_taken(run_ranks, same):
    def main():
        base = torch.arange(24.0).reshape(4, 6) + hvd.rank()
        inputs = {
            "transposed": base.t(),
            "strided": base[:, ::2],
            "offset": base.flatten()[3:],
            "reversed rows": base.flip(0),
            "channels last": torch.ones(2, 3, 4, 5).contiguous(memory_format=torch.channels_last),
            "expanded": base[:, :1].expand(4, 6),
            "lazily negated": torch.complex(base, base).conj().imag,
        }
        for name, tensor in inputs.items():
            expected = sum(hvd.allgather_object(tensor.clone()))
            same(hvd.allreduce(tensor, op=hvd.Sum, name=name), expected, name)
            handle = hvd.allreduce_async(tensor, op=hvd.Sum, name=name)
            same(hvd.synchronize(handle), expected, name)
            if name == "expanded":
                continue
            strides = tensor.stride()
            assert hvd.allreduce_(tensor, op=hvd.Sum, name=name) is tensor
            same(tensor, expected, name)
            assert tensor.stride() == strides

    run_ranks(2, main)


def test_a_view_is_reduced_without_touching_its_neighbours(run_ranks):
    def main():
        whole = torch.zeros(10)
        hvd.allreduce_(whole[3:6].fill_(1), op=hvd.Sum)
        assert whole.tolist() == [0] * 3 + [2] * 3 + [0] * 4

    run_ranks(2, main)


def test_an_expanded_tensor_cannot_be_reduced_in_place(run_ranks):
    def main():
        with pytest.raises(ValueError, match=r"'wide' has elements that share memory.*clone it"):
            hvd.allreduce_(torch.ones(1).expand(5), name="wide")
        hvd.barrier()

    run_ranks(2, main)


def test_in_place_forms_return_the_tensor_itself_and_count_as_a_change(run_ranks):
    def main():
        tensor = torch.ones(3)
        assert hvd.allreduce_(tensor, op=hvd.Sum) is tensor
        assert hvd.synchronize(hvd.allreduce_async_(tensor, op=hvd.Sum)) is tensor
        assert tensor.tolist() == [4.0] * 3
        assert tensor._version == 2

    run_ranks(2, main)


def test_average_is_the_default_and_the_deprecated_argument_still_works(run_ranks):
    def main():
        own = torch.tensor([float(hvd.rank())])
        assert hvd.allreduce(own).item() == 1.0
        assert hvd.allreduce(own, True).item() == 1.0
        with pytest.warns(DeprecationWarning, match="use op") as warned:
            assert hvd.allreduce(own, average=False).item() == 3.0
            assert hvd.allreduce_(own.clone(), average=False).item() == 3.0
            for start in (hvd.allreduce_async, hvd.allreduce_async_):
                assert hvd.synchronize(start(own.clone(), average=False)).item() == 3.0
        assert [warning.filename for warning in warned] == [__file__] * 4
        assert hvd.synchronize(hvd.allreduce_async(own, False, "named")).item() == 3.0
        assert hvd.allreduce(own, op=int(hvd.Max)).item() == 2.0

    run_ranks(3, main)


def test_factors_multiply_before_and_after(run_ranks, same):
    def main():
        own = torch.tensor([1.5, -3.25]) * (hvd.rank() + 1)
        found = hvd.allreduce(own, op=hvd.Sum, prescale_factor=0.3, postscale_factor=7.0)
        same(found, (own / (hvd.rank() + 1) * 0.3 + own / (hvd.rank() + 1) * 2 * 0.3) * 7.0)
        # Integers go through double: 3 * 0.5 is cut to 1 before it is added.
        whole = torch.tensor([3, 4], dtype=torch.int32)
        assert hvd.allreduce(whole, op=hvd.Sum, prescale_factor=0.5).tolist() == [2, 4]
        assert hvd.allreduce(whole, op=hvd.Average, postscale_factor=2.0).tolist() == [6, 8]

    run_ranks(2, main)


def test_factors_are_applied_to_16_bits_in_float32(run_ranks, same):
    def main():
        own = torch.tensor([60000.0, 1e-7]).to(torch.float16)
        found = hvd.allreduce(own, op=hvd.Sum, prescale_factor=0.001, postscale_factor=100.0)
        wide = own.float() * 0.001
        same(found, ((wide + wide) * 100.0).to(torch.float16))

    run_ranks(2, main)


@pytest.mark.parametrize("kind", ["fp16", "bf16"])
def test_compression_sends_16_bits_and_returns_the_original_dtype(run_ranks, same, kind):
    def main():
        own = torch.tensor([1 / 3, 1000.1, -2.7]) * (hvd.rank() + 1)
        dtype = {"fp16": torch.float16, "bf16": torch.bfloat16}[kind]
        sent = [value.to(dtype).float() for value in hvd.allgather_object(own)]
        found = hvd.allreduce(own, op=hvd.Sum, compression=getattr(hvd.Compression, kind))
        same(found, sum(sent).to(dtype).float())
        whole = torch.tensor([100000], dtype=torch.int64)
        assert hvd.allreduce(whole, compression=hvd.Compression.fp16, op=hvd.Sum).item() == 200000

    run_ranks(2, main)


def test_results_in_inference_and_no_grad_mode(run_ranks):
    def main():
        weights = torch.ones(3, requires_grad=True)
        with torch.no_grad():
            assert not hvd.allreduce(weights, op=hvd.Sum).requires_grad
        with torch.inference_mode():
            assert hvd.allreduce(torch.ones(3), op=hvd.Sum).tolist() == [2.0] * 3
        with torch.no_grad():
            hvd.allreduce_(weights, op=hvd.Sum)
        assert weights.tolist() == [2.0] * 3

    run_ranks(2, main)


@pytest.mark.parametrize(
    ("arguments", "error", "text"),
    [
        ({"average": True, "op": 1}, ValueError, "not both"),
        ({"op": 17}, ValueError, r"op=17 is not an operation; there are rueda.Average"),
        ({"op": 77}, ValueError, "op=77"),
        ({"process_set": 0}, ValueError, "process_set=0 is no rueda.ProcessSet"),
        ({"process_set": hvd.ProcessSet([0])}, ValueError, "not registered"),
        ({"name": "n" * 5000}, ValueError, "name of 5000 bytes"),
        ({"dtype": torch.float8_e5m2}, ValueError, "moved but not reduced"),
        ({"tensor": torch.ones(2) * 1j, "op": hvd.Max}, ValueError, "Sum and Average but no Max"),
        ({"tensor": torch.ones(2).to(torch.int32), "op": hvd.Adasum}, ValueError, "floating"),
        ({"tensor": torch.ones(2, device="meta")}, ValueError, "on device meta"),
        ({"tensor": torch.ones(2).to_sparse()}, ValueError, "sparse"),
        ({"name": 3}, TypeError, "name must be a string, not int"),
    ],
)
def test_wrong_arguments_are_refused_before_anything_starts(run_ranks, arguments, error, text):
    def main():
        tensor = arguments.pop("tensor", torch.ones(2))
        tensor = tensor.to(arguments.pop("dtype", tensor.dtype))
        with pytest.raises(error, match=text):
            hvd.allreduce(tensor, **{"name": "wrong", **arguments})
        with pytest.raises(error, match=text):
            hvd.allreduce_async_(tensor, **{"name": "wrong", **arguments})
        # The name is free and unnamed calls still match.
        hvd.allreduce(torch.ones(2), name="wrong")
        hvd.allreduce(torch.ones(2))

    run_ranks(2, main)
