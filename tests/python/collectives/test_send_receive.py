"""Send and receive: two ranks alone, in any order, named and unnamed."""

from __future__ import annotations

import pytest
import torch

import rueda as hvd


@pytest.mark.parametrize("backend", ["shm", "gloo"])
def test_every_element_type_and_layout_arrives(
    run_ranks, moved_dtypes, shapes, make_tensor, same, backend
):
    def main():
        for dtype in moved_dtypes:
            for shape in shapes:
                tensor = make_tensor(7, shape, dtype)
                if hvd.rank() == 2:
                    assert hvd.send(tensor, 0).shape == (0,)
                elif hvd.rank() == 0:
                    same(hvd.recv(torch.empty(shape, dtype=dtype), 2), tensor)
        square = torch.arange(6.0).reshape(2, 3)
        if hvd.rank() == 0:
            hvd.send(square.t(), 1)
            hvd.send(square[:, :1].expand(2, 3), 1)
        if hvd.rank() == 1:
            same(hvd.recv(torch.empty(3, 2), 0), square.t())
            same(hvd.recv(torch.empty(2, 3), 0), square[:, :1].expand(2, 3))

    run_ranks(3, main, env={"RUEDA_BACKEND": backend})


@pytest.mark.parametrize("size", [2, 4])
def test_rings_of_asynchronous_pairs_do_not_hang(run_ranks, size):
    def main():
        own, right, left = hvd.rank(), (hvd.rank() + 1) % size, (hvd.rank() - 1) % size
        for step in range(20):
            value = torch.full((step * 1000 + 1,), float(own))
            sent = hvd.send_async(value, right)
            found = hvd.recv(torch.empty_like(value), left)
            assert found.eq(left).all()
            assert hvd.synchronize(sent).numel() == 0

    run_ranks(size, main)


def test_both_directions_count_for_themselves(run_ranks):
    def main():
        other = 1 - hvd.rank()
        value = torch.tensor([float(hvd.rank())])
        # Rank 0 sends twice before it receives; rank 1 receives between its sends.
        if hvd.rank() == 0:
            handles = [hvd.send_async(value, other), hvd.send_async(value + 10, other)]
            assert hvd.recv(torch.empty(1), other).item() == 1.0
            assert hvd.recv(torch.empty(1), other).item() == 11.0
        else:
            handles = [hvd.send_async(value, other)]
            assert hvd.recv(torch.empty(1), other).item() == 0.0
            handles.append(hvd.send_async(value + 10, other))
            assert hvd.recv(torch.empty(1), other).item() == 10.0
        for handle in handles:
            hvd.synchronize(handle)

    run_ranks(2, main)


def test_names_match_in_any_order(run_ranks):
    def main():
        names = [f"tensor {number}" for number in range(10)]
        if hvd.rank() == 0:
            handles = [
                hvd.send_async(torch.tensor([number]), 1, names[number]) for number in range(10)
            ]
            for handle in handles:
                hvd.synchronize(handle)
        else:
            handles = {
                number: hvd.recv_async(torch.zeros(1, dtype=torch.int64), 0, names[number])
                for number in reversed(range(10))
            }
            for number, handle in handles.items():
                assert hvd.synchronize(handle).item() == number

    run_ranks(2, main)


def test_what_is_sent_and_the_tensor_to_receive_into_are_left_alone(run_ranks):
    def main():
        tensor = torch.ones(3) * (hvd.rank() + 1)
        version = tensor._version
        if hvd.rank() == 0:
            hvd.send(tensor, 1)
        else:
            assert hvd.recv(tensor, 0).tolist() == [1.0] * 3
        assert tensor.tolist() == [hvd.rank() + 1.0] * 3
        assert tensor._version == version

    run_ranks(2, main)


def test_ranks_that_disagree_on_what_is_sent_are_told(run_ranks):
    def main():
        with pytest.raises(hvd.HorovodInternalError, match=r"\[R201\].*shape"):
            if hvd.rank() == 0:
                hvd.send(torch.ones(3), 1)
            else:
                hvd.recv(torch.ones(4), 0)
        hvd.barrier()

    run_ranks(2, main)


@pytest.mark.parametrize(
    ("call", "text"),
    [
        (lambda: hvd.send(torch.ones(1), hvd.rank()), "a rank cannot send to itself"),
        (lambda: hvd.recv(torch.ones(1), hvd.rank()), "a rank cannot send to itself"),
        (lambda: hvd.send(torch.ones(1), 2), "dest_rank=2 is no rank of this job of 2"),
        (lambda: hvd.recv_async(torch.ones(1), -1), "source_rank=-1 is no rank"),
    ],
)
def test_wrong_ranks_are_refused(run_ranks, call, text):
    def main():
        with pytest.raises(ValueError, match=text):
            call()
        hvd.barrier()

    run_ranks(2, main)
