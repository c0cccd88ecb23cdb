"""Collectives on tensors through rueda._torch.Operations."""

from __future__ import annotations

import datetime
import os
import signal
import threading

import pytest
import torch

from rueda import _torch
from rueda.exceptions import HorovodInternalError

AVERAGE, SUM, MIN, MAX, PRODUCT = 0, 1, 3, 4, 5


@pytest.fixture(params=["start and wait", "now"])
def allreduce(pair, request):
    """Reduce ``tensors[rank]`` on both ranks; the results by rank."""

    def run(tensors, outputs=None, name="x", op=SUM, prescale=1.0, postscale=1.0):
        def main(rank):
            operations = pair.operations[rank]
            output = None if outputs is None else outputs[rank]
            call = (tensors[rank], output, name, op, prescale, postscale)
            if request.param == "now":
                return operations.allreduce_now(*call)
            return operations.wait(operations.allreduce(*call))

        return pair.run(main)

    return run


_FLOATING = [torch.float16, torch.bfloat16, torch.float32, torch.float64]
_SIGNED = [torch.int8, torch.int16, torch.int32, torch.int64]
_UNSIGNED = [torch.uint8, torch.uint16, torch.uint32, torch.uint64]


@pytest.mark.parametrize("dtype", [*_FLOATING, *_SIGNED, *_UNSIGNED])
def test_allreduce_of_every_number_type(allreduce, dtype):
    tensors = [torch.tensor([1, 2, 3]).to(dtype), torch.tensor([10, 20, 30]).to(dtype)]
    for result in allreduce(tensors):
        assert result.dtype == dtype
        assert torch.equal(result.to(torch.int64), torch.tensor([11, 22, 33]))
    assert torch.equal(tensors[0].to(torch.int64), torch.tensor([1, 2, 3]))


@pytest.mark.parametrize(
    ("op", "value"), [(AVERAGE, 4.0), (SUM, 8.0), (MIN, 2.0), (MAX, 6.0), (PRODUCT, 12.0)]
)
def test_ops(allreduce, op, value):
    for result in allreduce([torch.full((5,), 2.0), torch.full((5,), 6.0)], op=op):
        assert torch.equal(result, torch.full((5,), value))


def test_factors(allreduce):
    tensors = [torch.ones(3), torch.ones(3)]
    for result in allreduce(tensors, prescale=0.5, postscale=8.0):
        assert torch.equal(result, torch.full((3,), 8.0))


@pytest.mark.parametrize("shape", [(), (0,), (0, 4), (1,), (7, 3)])
def test_shapes(allreduce, shape):
    for result in allreduce([torch.ones(shape), torch.ones(shape)]):
        assert torch.equal(result, torch.full(shape, 2.0))


def test_in_place_gives_the_very_tensor_back(allreduce):
    tensors = [torch.ones(4), torch.ones(4)]
    version = tensors[0]._version
    results = allreduce(tensors, tensors)
    for tensor, result in zip(tensors, results, strict=True):
        assert result is tensor
        assert torch.equal(tensor, torch.full((4,), 2.0))
    assert tensors[0]._version > version


def test_parameters_can_be_reduced_in_place(allreduce):
    parameters = [torch.nn.Parameter(torch.ones(4)) for _ in range(2)]
    results = allreduce(parameters, parameters)
    assert results[0] is parameters[0]
    assert torch.equal(parameters[0].data, torch.full((4,), 2.0))


def test_tensors_of_inference_mode(allreduce):
    with torch.inference_mode():
        tensors = [torch.ones(4), torch.ones(4)]
    allreduce(tensors, tensors)
    assert torch.equal(tensors[1], torch.full((4,), 2.0))


def _transposed():
    return torch.arange(6.0).reshape(2, 3).t()


def _strided():
    return torch.arange(12.0)[::2]


def _channels_last():
    return torch.randn(1, 3, 2, 2, generator=torch.Generator().manual_seed(1)).to(
        memory_format=torch.channels_last
    )


def _negated():
    return torch.complex(torch.ones(3), torch.arange(3.0)).conj().imag


@pytest.mark.parametrize("make", [_transposed, _strided, _channels_last, _negated])
@pytest.mark.parametrize("in_place", [True, False])
def test_tensors_that_are_not_row_major(allreduce, make, in_place):
    tensors = [make(), make()]
    expected = 2 * make().clone()
    results = allreduce(tensors, tensors if in_place else None)
    for tensor, result in zip(tensors, results, strict=True):
        assert (result is tensor) == in_place
        assert torch.equal(result, expected)
        assert torch.equal(tensor, expected if in_place else make())


def test_an_output_of_its_own(allreduce):
    outputs = [torch.empty(3), torch.empty(6)[::2]]
    results = allreduce([torch.ones(3), torch.ones(3)], outputs)
    for output, result in zip(outputs, results, strict=True):
        assert result is output
        assert torch.equal(output, torch.full((3,), 2.0))


def test_names_are_counted_where_none_is_given(pair):
    def main(rank):
        operations = pair.operations[rank]
        handles = [operations.allreduce(torch.full((2,), i), None, None, SUM) for i in range(5)]
        return [operations.wait(handle) for handle in handles]

    for results in pair.run(main):
        for i, result in enumerate(results):
            assert torch.equal(result, torch.full((2,), 2 * i))


def test_groups(pair):
    tensors = [[torch.full((i + 1,), float(rank)) for i in range(4)] for rank in range(2)]

    def main(rank):
        operations = pair.operations[rank]
        fresh = operations.wait(
            operations.submit(_torch.ALLREDUCE, tensors[rank], None, "g", op=SUM, grouped=True)
        )
        same = operations.wait(
            operations.submit(
                _torch.ALLREDUCE, tensors[rank], tensors[rank], "g", op=AVERAGE, grouped=True
            )
        )
        assert isinstance(fresh, list)
        assert all(one is other for one, other in zip(same, tensors[rank], strict=True))
        return fresh, same

    for fresh, same in pair.run(main):
        for i in range(4):
            assert torch.equal(fresh[i], torch.ones(i + 1))
            assert torch.equal(same[i], torch.full((i + 1,), 0.5))


def test_an_empty_group_is_done_at_once(pair):
    def main(rank):
        operations = pair.operations[rank]
        return operations.wait(operations.submit(_torch.ALLREDUCE, [], None, "none", grouped=True))

    assert pair.run(main) == [[], []]


def test_allgather_with_uneven_first_dimensions(make_world):
    world = make_world(3)

    def main(rank):
        operations = world.operations[rank]
        tensor = torch.full((rank, 2), float(rank), dtype=torch.float64)
        return operations.wait(operations.submit(_torch.ALLGATHER, [tensor], None, "a"))

    for result in world.run(main):
        assert torch.equal(result[:, 0], torch.tensor([1.0, 2.0, 2.0], dtype=torch.float64))
        assert result.shape == (3, 2)
        result.add_(1)


def test_an_allgathered_tensor_outlives_the_job(make_world):
    world = make_world(2)

    def main(rank):
        operations = world.operations[rank]
        return operations.wait(operations.submit(_torch.ALLGATHER, [torch.ones(3)], None, "a"))

    results = world.run(main)
    world.stop()
    assert torch.equal(results[0], torch.ones(6))


@pytest.mark.parametrize("in_place", [True, False])
@pytest.mark.parametrize("root", [0, 1])
def test_broadcast(pair, in_place, root):
    tensors = [torch.full((2, 3), float(rank)).t() for rank in range(2)]

    def main(rank):
        operations = pair.operations[rank]
        outputs = [tensors[rank]] if in_place else None
        return operations.wait(
            operations.submit(_torch.BROADCAST, [tensors[rank]], outputs, "b", root=root)
        )

    for rank, result in enumerate(pair.run(main)):
        assert torch.equal(result, torch.full((3, 2), float(root)))
        assert (result is tensors[rank]) == in_place


def test_barrier_has_no_result(pair):
    def main(rank):
        operations = pair.operations[rank]
        return operations.wait(operations.submit(_torch.BARRIER, [], None, "barrier"))

    assert pair.run(main) == [None, None]


def test_handles(make_world):
    world = make_world(1)
    operations = world.operations[0]
    assert operations.next_handle == 0
    handle = operations.allreduce(torch.ones(3), None, "x", SUM)
    assert handle == 0
    assert len(operations) == 1
    operations.wait(handle)
    assert len(operations) == 0
    assert operations.wait(handle) is None
    with pytest.raises(ValueError, match="handle 0 is not known"):
        operations.poll(handle)
    later = _torch.Operations(world.engines[0].capsule(), operations.next_handle)
    assert later.allreduce(torch.ones(3), None, "x", SUM) == 1


def test_poll_becomes_true_when_all_ranks_came(pair):
    handle = pair.operations[0].allreduce(torch.ones(3), None, "x", SUM)
    assert not pair.operations[0].poll(handle)
    pair.operations[1].wait(pair.operations[1].allreduce(torch.ones(3), None, "x", SUM))
    pair.operations[0].wait(handle)


def test_tensors_live_until_they_are_synchronized(pair):
    handle = pair.operations[0].allreduce(torch.ones(1 << 16), None, "x", SUM)
    noise = [torch.full((1 << 16,), 9.0) for _ in range(20)]
    pair.operations[1].wait(pair.operations[1].allreduce(torch.ones(1 << 16), None, "x", SUM))
    assert torch.equal(pair.operations[0].wait(handle), torch.full((1 << 16,), 2.0))
    del noise


def test_the_same_name_twice_in_flight_is_refused(pair):
    pair.operations[0].allreduce(torch.ones(3), None, "twice", SUM)
    with pytest.raises(ValueError, match=r"^\[R103\].*'twice'"):
        pair.operations[0].allreduce(torch.ones(3), None, "twice", SUM)


def test_a_mismatch_is_raised_everywhere_and_the_job_goes_on(pair):
    def main(rank):
        operations = pair.operations[rank]
        with pytest.raises(HorovodInternalError, match=r"^\[R201\].*'x'"):
            operations.wait(operations.allreduce(torch.ones(3 + rank), None, "x", SUM))
        return operations.wait(operations.allreduce(torch.ones(3), None, "x", SUM))

    assert all(torch.equal(result, torch.full((3,), 2.0)) for result in pair.run(main))


def test_after_shutdown_nothing_can_be_started(make_world):
    world = make_world(1)
    world.stop()
    with pytest.raises(HorovodInternalError, match=r"^\[R303\]") as error:
        world.operations[0].allreduce(torch.ones(3), None, "x", SUM)
    assert error.value.code == "R303"
    assert error.value.rank is None


@pytest.mark.parametrize(
    ("tensor", "why"),
    [
        (torch.ones(2, device="meta"), r"device meta.*\.cpu\(\)"),
        (torch.ones(2, 2).to_sparse(), r"sparse.*to_dense"),
        (torch.ones(2).to(torch.float8_e4m3fn), "moved but not reduced"),
    ],
)
def test_tensors_that_cannot_be_reduced_are_refused_by_name(make_world, tensor, why):
    operations = make_world(1).operations[0]
    with pytest.raises(ValueError, match=f"^.R10[14].*'odd'.*{why}"):
        operations.allreduce(tensor, None, "odd", SUM)
    assert len(operations) == 0


def test_wrong_calls_are_refused(make_world):
    operations = make_world(1).operations[0]
    with pytest.raises(ValueError, match="reduce op 2"):
        operations.allreduce(torch.ones(2), None, "x", 2)
    with pytest.raises(ValueError, match="no operation 99"):
        operations.submit(99, [torch.ones(2)], None, "x")
    with pytest.raises(ValueError, match="no first dimension to divide or join"):
        operations.submit(_torch.ALLGATHER, [torch.tensor(1.0)], None, "x")
    with pytest.raises(ValueError, match="its input's shape and type"):
        operations.allreduce(torch.ones(2), torch.ones(3), "x", SUM)
    with pytest.raises(ValueError, match="an expanded tensor"):
        expanded = torch.ones(1).expand(3)
        operations.allreduce(expanded, expanded, "x", SUM)
    with pytest.raises(ValueError, match="1 outputs for 2 tensors"):
        operations.submit(_torch.ALLREDUCE, [torch.ones(2)] * 2, [torch.ones(2)], "x", grouped=True)


def test_tensors_of_a_group_that_share_memory_are_refused(make_world):
    operations = make_world(1).operations[0]
    whole = torch.ones(10)

    def submit(inputs, outputs):
        return operations.submit(_torch.ALLREDUCE, inputs, outputs, "g", grouped=True)

    with pytest.raises(ValueError, match=r"'g_0of2' and 'g_1of2' share memory"):
        submit([whole[:6], whole[5:]], [whole[:6], whole[5:]])
    with pytest.raises(ValueError, match="share memory"):
        submit([whole, whole], [whole, whole])
    with pytest.raises(ValueError, match="share memory"):
        submit([whole[:5], whole[5:]], [whole[5:], whole[:5]])
    for inputs, outputs in [
        ([whole[:5], whole[5:]], [whole[:5], whole[5:]]),
        ([whole, whole], None),
        ([whole[:0], whole[:0]], [whole[:0], whole[:0]]),
    ]:
        operations.wait(submit(inputs, outputs))


def test_ctrl_c_interrupts_a_wait_and_the_handle_stays(pair):
    first, second = pair.operations
    handle = first.allreduce(torch.ones(3), None, "x", SUM)
    timer = threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGINT))
    timer.start()
    with pytest.raises(KeyboardInterrupt):
        first.wait(handle)
    timer.join()
    second.wait(second.allreduce(torch.ones(3), None, "x", SUM))
    assert torch.equal(first.wait(handle), torch.full((3,), 2.0))


def test_other_threads_run_while_one_waits(pair):
    first, second = pair.operations
    handle = first.allreduce(torch.ones(3), None, "x", SUM)
    results = []
    waiting = threading.Thread(target=lambda: results.append(first.wait(handle)), daemon=True)
    waiting.start()
    second.wait(second.allreduce(torch.ones(3), None, "x", SUM))
    waiting.join(30)
    assert torch.equal(results[0], torch.full((3,), 2.0))


def test_operations_that_are_dropped_in_flight_do_no_harm(pair):
    first = _torch.Operations(pair.engines[0].capsule())
    first.allreduce(torch.ones(1 << 16), None, "x", SUM)
    del first
    second = pair.operations[1]
    result = second.wait(second.allreduce(torch.ones(1 << 16), None, "x", SUM))
    assert torch.equal(result, torch.full((1 << 16,), 2.0))


def test_a_foreign_capsule_is_refused():
    with pytest.raises(ValueError, match=r"expected the capsule 'rueda\.engine'"):
        _torch.Operations(datetime.datetime_CAPI)


def test_the_module_knows_the_version_it_was_built_for():
    assert torch.__version__.split("+")[0] == _torch.torch_version
