"""Buckets learned from the first steps: when, from what, and that nothing else changes."""

from __future__ import annotations

import pytest
import torch

import rueda as hvd

# Eight layers are registered in this order and run in that of their numbers, two to a bucket.
_REGISTERED = (0, 4, 1, 5, 2, 6, 3, 7)
_AS_REGISTERED = [[7, 6], [5, 4], [3, 2], [1, 0]]
_AS_THEY_COME = [[7, 5], [3, 1], [6, 4], [2, 0]]
_WIDTH = 16
# The first step does not count, three do, and one agrees.
_STEPS_TO_LEARN = 5


def _settings(**more):
    two = str(2 * 4 * _WIDTH * _WIDTH)
    return {
        "RUEDA_REDUCER_BUCKET_BYTES": two,
        "RUEDA_REDUCER_FIRST_BUCKET_BYTES": two,
        "RUEDA_REDUCER_LEARN": "1",
        "RUEDA_STALL_SHUTDOWN_TIME_SECONDS": "30",
        **more,
    }


class _Shuffled(torch.nn.Module):
    def __init__(self, width=_WIDTH, order=tuple(range(8))):
        super().__init__()
        torch.manual_seed(7)
        self.layers = torch.nn.ModuleDict()
        for number in _REGISTERED:
            self.layers[str(number)] = torch.nn.Linear(width, width, bias=False)
        self.order = order

    def forward(self, batch):
        for number in self.order:
            batch = torch.tanh(self.layers[str(number)](batch))
        return batch


def _batch(step, rank, width=_WIDTH):
    generator = torch.Generator().manual_seed(100 * step + rank)
    return torch.randn(3, width, generator=generator)


def _wrapped(model, **options):
    return hvd.DistributedOptimizer(
        torch.optim.SGD(model.parameters(), lr=0.1), model.named_parameters(), **options
    )


def _step(optimizer, model, step, set_to_none=True, passes=1):
    optimizer.zero_grad(set_to_none)
    for which in range(passes):
        model(_batch(step + 50 * which, hvd.rank())).square().mean().backward()
    optimizer.step()


def _reducer(optimizer):
    return optimizer._rueda._reducer


def _parameters_after(steps, **options):
    model = _Shuffled()
    optimizer = _wrapped(model)
    seen = []
    for step in range(steps):
        _step(optimizer, model, step, **options)
        seen += [p.grad.clone() for p in model.parameters()]
    reducer = _reducer(optimizer)
    members = None if reducer is None else reducer.members()
    return members, seen + [p.detach() for p in model.parameters()]


@pytest.mark.parametrize("set_to_none", [True, False])
@pytest.mark.parametrize(("size", "backend"), [(1, "shm"), (2, "shm"), (3, "shm"), (2, "gloo")])
def test_gradients_have_the_same_bits_in_the_layout_that_was_learned(
    run_ranks, size, backend, set_to_none
):
    def main():
        return _parameters_after(_STEPS_TO_LEARN + 4, set_to_none=set_to_none)

    settings = _settings(RUEDA_BACKEND=backend)
    fixed = run_ranks(size, main, env={**settings, "RUEDA_REDUCER_LEARN": "0"})
    learned = run_ranks(size, main, env=settings)
    for (_, values), (members, others) in zip(fixed, learned, strict=True):
        assert members == (None if size == 1 else _AS_THEY_COME)
        assert all(torch.equal(a, b) for a, b in zip(values, others, strict=True))
    if size > 1:
        assert [members for members, _ in fixed] == [_AS_REGISTERED] * size


def test_it_is_learned_once_and_costs_one_copy_of_each_gradient(run_ranks):
    def main():
        model = _Shuffled()
        optimizer = _wrapped(model)
        reducer = _reducer(optimizer)
        for step in range(_STEPS_TO_LEARN + 3):
            before = reducer.copies_in
            _step(optimizer, model, step, set_to_none=False)
            # The first step makes the gradients; the one after learning moves them.
            copied = 8 if step in (0, _STEPS_TO_LEARN) else 0
            assert reducer.copies_in - before == copied, step
            assert bool(reducer.learned) == (step >= _STEPS_TO_LEARN - 1), step
        assert reducer.learned.startswith("gradients come in another order")
        assert reducer.placed_bucket_count == reducer.bucket_count == 4

    run_ranks(2, main, env=_settings(RUEDA_BACKEND="shm"))


def test_gradients_that_somebody_holds_keep_their_values(run_ranks):
    def main():
        model = _Shuffled()
        optimizer = _wrapped(model)
        for step in range(_STEPS_TO_LEARN):
            _step(optimizer, model, step)
        assert _reducer(optimizer).members() == _AS_THEY_COME
        held = [p.grad for p in model.parameters()]
        values = [gradient.clone() for gradient in held]
        for step in range(3):
            _step(optimizer, model, 20 + step)
        assert all(torch.equal(a, b) for a, b in zip(held, values, strict=True))

    run_ranks(2, main, env=_settings())


def test_ranks_whose_gradients_come_in_different_orders_agree(run_ranks, assert_averaged):
    def main():
        orders = [range(8), reversed(range(8)), (3, 1, 4, 0, 5, 2, 7, 6)]
        model = _Shuffled(order=tuple(orders[hvd.rank()]))
        optimizer = _wrapped(model)
        for step in range(_STEPS_TO_LEARN + 2):
            optimizer.zero_grad()
            model(_batch(step, hvd.rank())).square().mean().backward()
            plain = _Shuffled(order=model.order)
            plain.load_state_dict(model.state_dict())
            plain(_batch(step, hvd.rank())).square().mean().backward()
            optimizer.synchronize()
            assert_averaged(model, {name: p.grad for name, p in plain.named_parameters()})
            with optimizer.skip_synchronize():
                optimizer.step()
        return _reducer(optimizer).learned, _reducer(optimizer).members()

    first, *others = run_ranks(3, main, env=_settings())
    assert first[0]
    assert others == [first, first]


@pytest.mark.parametrize("backend", ["shm", "gloo"])
def test_nothing_is_learned_while_a_rank_has_joined_and_all_learn_together_later(
    run_ranks, backend
):
    def main():
        model = _Shuffled()
        optimizer = _wrapped(model)
        found = []
        for steps in [(_STEPS_TO_LEARN + 3, 2), (1, 3), (2, 1)]:
            for step in range(steps[hvd.rank()]):
                _step(optimizer, model, step)
            hvd.broadcast_parameters(model.state_dict(), hvd.join())
            found.append(_reducer(optimizer).members())
        return found, [p.detach() for p in model.parameters()]

    settings = _settings(RUEDA_BACKEND=backend)
    fixed = run_ranks(2, main, env={**settings, "RUEDA_REDUCER_LEARN": "0"})
    learned = run_ranks(2, main, env=settings)
    for (_, values), (found, others) in zip(fixed, learned, strict=True):
        # Rank 1's fifth step is one of all ranks no earlier than in the third round.
        assert found == [_AS_REGISTERED, _AS_REGISTERED, _AS_THEY_COME]
        assert all(torch.equal(a, b) for a, b in zip(values, others, strict=True))


def test_process_sets_learn_for_themselves(run_ranks):
    def main():
        sets = [hvd.add_process_set(ranks) for ranks in ([0, 1], [1, 2], [2])]
        models = [_Shuffled() for _ in sets]
        optimizers = [
            _wrapped(model, process_set=one) for model, one in zip(models, sets, strict=True)
        ]
        for which, (optimizer, model) in enumerate(zip(optimizers, models, strict=True)):
            for step in range(_STEPS_TO_LEARN + which):
                _step(optimizer, model, step)
        return [
            None if _reducer(optimizer) is None else _reducer(optimizer).members()
            for optimizer in optimizers
        ]

    first, second, third = run_ranks(3, main, env=_settings(RUEDA_DYNAMIC_PROCESS_SETS="1"))
    assert first == [_AS_THEY_COME, None, None]
    assert second == [_AS_THEY_COME, _AS_THEY_COME, None]
    assert third == [None, _AS_THEY_COME, None]


def test_accumulation_groups_frozen_and_unused_parameters(run_ranks):
    def main():
        model = _Shuffled(order=(0, 1, 2, 4, 5, 6, 7))  # 3 is unused: number 6
        model.layers["4"].weight.requires_grad = False  # number 1
        weights = dict(model.named_parameters())
        group = [weights["layers.0.weight"], weights["layers.7.weight"]]  # numbers 0, 7
        optimizer = _wrapped(model, backward_passes_per_step=2, groups=[group])
        reducer = _reducer(optimizer)
        assert reducer.members() == [[6, 5], [4, 3], [2], [7, 0]]
        for step in range(_STEPS_TO_LEARN):
            _step(optimizer, model, step, passes=2)
        # Layers 6, 5, 2 and 1 come in this order, and 3 at the end.
        learned = [[7, 0], [5, 3], [4, 2], [6]]
        assert reducer.members() == learned
        # What comes back later joins the end.
        model.layers["4"].weight.requires_grad = True
        for step in range(2):
            _step(optimizer, model, step, passes=2)
        assert reducer.members() == [*learned, [1]]
        return [p.detach() for p in model.parameters()]

    first, second = run_ranks(2, main, env=_settings())
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))


def test_steps_without_a_backward_pass_and_reducing_twice_are_no_trouble(run_ranks):
    def main():
        model = _Shuffled()
        idle, optimizer = _wrapped(model), None
        for _ in range(_STEPS_TO_LEARN + 1):
            idle.synchronize()
        assert _reducer(idle).learned == "no rank saw a backward pass"
        assert _reducer(idle).members() == _AS_REGISTERED
        _reducer(idle).remove()
        optimizer = _wrapped(model)
        for step in range(_STEPS_TO_LEARN):
            optimizer.zero_grad()
            # Rank 1 computes nothing; its zeros take part.
            if hvd.rank() == 0:
                model(_batch(step, 0)).square().mean().backward()
            optimizer.synchronize()
            optimizer.synchronize()
            with optimizer.skip_synchronize():
                optimizer.step()
        return _reducer(optimizer).members()

    assert run_ranks(2, main, env=_settings()) == [_AS_THEY_COME] * 2


def test_without_room_for_a_second_layout_on_one_rank_all_keep_theirs(run_ranks):
    def main(with_ballast):
        from rueda import _context
        from rueda._torch_module import native

        ballast = None
        if with_ballast and hvd.rank() == 1:
            tensor = torch.zeros(24 << 18, requires_grad=True)  # 24 MiB
            capsule = _context.job().engine.capsule()
            ballast = native.GradientReducer(capsule, [tensor], ["ballast"], name="ballast")
            assert ballast.placed_bucket_count == 1
        model = _Shuffled(width=512)  # 8 MiB of gradients
        optimizer = _wrapped(model)
        reducer = _reducer(optimizer)
        assert reducer.placed_bucket_count == reducer.bucket_count
        before = reducer.members()
        for step in range(_STEPS_TO_LEARN + 1):
            optimizer.zero_grad()
            model(_batch(step, hvd.rank(), 512)).square().mean().backward()
            optimizer.step()
        assert reducer.placed_bucket_count == reducer.bucket_count
        return reducer.learned, reducer.members() == before

    two = str(2 << 20)
    settings = _settings(
        RUEDA_BACKEND="shm",
        RUEDA_ARENA_BYTES=str(40 << 20),
        RUEDA_REDUCER_BUCKET_BYTES=two,
        RUEDA_REDUCER_FIRST_BUCKET_BYTES=two,
    )
    for learned, unchanged in run_ranks(2, main, True, env=settings):
        assert "no room" in learned
        assert unchanged
    for learned, unchanged in run_ranks(2, main, False, env=settings):
        assert "another order" in learned
        assert not unchanged


def test_sizes_are_learned_where_nobody_chose_them(run_ranks):
    def main():
        model = _Shuffled(width=512)
        optimizer = _wrapped(model)
        for step in range(_STEPS_TO_LEARN + 2):
            optimizer.zero_grad()
            model(_batch(step, hvd.rank(), 512)).square().mean().backward()
            optimizer.step()
        reducer = _reducer(optimizer)
        assert sorted(n for members in reducer.members() for n in members) == list(range(8))
        return reducer.learned, reducer.members(), [p.detach() for p in model.parameters()]

    settings = {"RUEDA_REDUCER_LEARN": "1", "RUEDA_STALL_SHUTDOWN_TIME_SECONDS": "30"}
    first, second = run_ranks(2, main, env=settings)
    assert first[0]
    assert first[:2] == second[:2]
    assert all(torch.equal(a, b) for a, b in zip(first[2], second[2], strict=True))


def test_sizes_stay_if_any_rank_chose_them(run_ranks):
    def main():
        model = _Shuffled()
        optimizer = _wrapped(model)
        for step in range(_STEPS_TO_LEARN):
            _step(optimizer, model, step)
        return _reducer(optimizer).members()

    default = {"RUEDA_REDUCER_LEARN": "1"}
    chosen = {**default, "RUEDA_REDUCER_BUCKET_BYTES": str(25 << 20)}
    first, second = run_ranks(2, main, env=[default, chosen])
    assert first == second


def test_copies_learn_anew(run_ranks):
    def main():
        import copy

        model = _Shuffled()
        optimizer = _wrapped(model)
        for step in range(_STEPS_TO_LEARN):
            _step(optimizer, model, step)
        state = optimizer.state_dict()
        assert set(state) == {"state", "param_groups"}
        other, twin = copy.deepcopy((model, optimizer))
        assert _reducer(twin).learned == ""
        for step in range(_STEPS_TO_LEARN):
            _step(twin, other, step)
        return _reducer(twin).members()

    assert run_ranks(2, main, env=_settings()) == [_AS_THEY_COME] * 2


def test_ranks_may_step_two_optimizers_in_different_orders_meanwhile(run_ranks):
    def main():
        models = [_Shuffled(), _Shuffled()]
        optimizers = [_wrapped(model) for model in models]
        for step in range(_STEPS_TO_LEARN + 2):
            for model, optimizer in zip(models, optimizers, strict=True):
                optimizer.zero_grad()
                model(_batch(step, hvd.rank())).square().mean().backward()
            for optimizer in optimizers if hvd.rank() else reversed(optimizers):
                optimizer.step()
        return [_reducer(optimizer).members() for optimizer in optimizers]

    assert run_ranks(2, main, env=_settings()) == [[_AS_THEY_COME] * 2] * 2


@pytest.mark.parametrize("more", [1, 3])
def test_ranks_whose_models_differ_are_told_so_and_do_not_hang(run_ranks, more):
    def main():
        count = 1 + (more if hvd.rank() == 1 else 0)
        parameters = [torch.nn.Parameter(torch.ones(3)) for _ in range(count)]
        optimizer = hvd.DistributedOptimizer(torch.optim.SGD(parameters, lr=0.1))
        for _ in range(2):
            sum(parameter.sum() for parameter in parameters).backward()
            with pytest.raises(hvd.HorovodInternalError) as caught:
                optimizer.step()
            assert caught.value.code == "R201"
            hvd.barrier()

    run_ranks(3, main, env={"RUEDA_REDUCER_LEARN": "1"})
