"""overlap_forward beside everything else that the optimizer can do: the same, or refused."""

from __future__ import annotations

import pytest
import torch

import rueda as hvd


def _adam(parameters):
    return torch.optim.Adam(parameters, lr=0.01)


def _each(make):
    """Yield a model and its optimizer, then such a pair whose optimizer overlaps."""
    for overlaps in (False, True):
        model = make()
        overlapped = model if overlaps else None
        yield model, hvd.DistributedOptimizer(_adam(model.parameters()), overlap_forward=overlapped)


@pytest.fixture
def deep():
    def make():
        torch.manual_seed(5)
        return torch.nn.Sequential(
            torch.nn.Linear(6, 17), torch.nn.Tanh(), torch.nn.Linear(17, 9), torch.nn.Linear(9, 3)
        )

    return make


@pytest.mark.parametrize(
    "options",
    [
        {"passes": 3},
        {"compression": hvd.Compression.fp16},
        {"compression": hvd.Compression.bf16, "passes": 2},
        {"op": hvd.Sum},
        {"gradient_predivide_factor": 2.0},
        {"sparse_as_dense": True},
    ],
)
def test_options_of_the_optimizer(run_ranks, train_both, assert_alike, deep, options):
    def main():
        assert_alike(*train_both(deep, _adam, **options))

    run_ranks(3, main)


def test_a_number_of_passes_that_changes(run_ranks, train_both, assert_alike, deep):
    def main():
        def between(model, optimizer, step):
            optimizer.zero_grad()
            optimizer.set_backward_passes_per_step(1)

        assert_alike(*train_both(deep, _adam, between=between))

    run_ranks(2, main)


def test_process_sets(run_ranks, train_both, assert_alike, deep):
    def main():
        own = pair if pair.included() else alone
        assert_alike(*train_both(deep, _adam, process_set=own))
        assert_alike(*train_both(deep, _adam, process_set=pair))

    pair, alone = hvd.ProcessSet([0, 2]), hvd.ProcessSet([1])

    def with_sets():
        hvd.init(process_sets=[pair, alone])
        main()
        hvd.shutdown()

    run_ranks(3, with_sets, init=False)


def test_sparse_gradients_make_the_step_wait(run_ranks, train_both, assert_alike, left):
    def make():
        torch.manual_seed(5)
        return torch.nn.ModuleList(
            [torch.nn.EmbeddingBag(9, 6, sparse=True, mode="sum"), torch.nn.Linear(6, 3)]
        )

    def main():
        def forward(model, batch, step):
            rows = torch.arange(4).reshape(2, 2) + step % 3 + hvd.rank()
            return model[1](model[0](rows))

        def between(model, optimizer, step):
            optimizer.zero_grad()
            assert optimizer._overlap is None or left(optimizer) == 0

        def sgd(parameters):
            return torch.optim.SGD(parameters, lr=0.1)

        assert_alike(*train_both(make, sgd, forward=forward, between=between))

    run_ranks(2, main)


def test_clipping_and_scaling_after_synchronize(run_ranks, assert_alike, deep, left):
    def main():
        both = []
        for model, optimizer in _each(deep):
            scaler = torch.amp.GradScaler("cpu", init_scale=4.0, growth_interval=2)
            for step in range(8):
                optimizer.zero_grad()
                loss = model(torch.full((2, 6), 1.0 + step + hvd.rank())).square().mean()
                if step == 3:
                    loss = loss * torch.inf
                if step % 4 < 2:
                    loss.backward()
                    optimizer.step()  # overlapped, with the others between
                    continue
                scaler.scale(loss).backward()
                optimizer.synchronize()
                scaler.unscale_(optimizer)
                torch.nn.utils.clip_grad_norm_(model.parameters(), 0.1)
                with optimizer.skip_synchronize():
                    scaler.step(optimizer)
                scaler.update()
                assert optimizer._overlap is None or left(optimizer) == 0
            both.append((model, optimizer))
        assert_alike(*both)

    run_ranks(2, main)


def test_hooks_of_the_step_see_whole_steps(run_ranks, train_both, assert_alike, deep):
    calls = []

    def make(parameters):
        optimizer = _adam(parameters)
        optimizer.register_step_post_hook(lambda *_: calls.append("post"))
        return optimizer

    def main():
        assert_alike(*train_both(deep, make))
        assert calls == ["post"] * 12

    run_ranks(2, main)


def test_closures_make_the_step_wait(run_ranks, assert_alike, deep):
    def main():
        both = []
        for model, optimizer in _each(deep):

            def closure(model=model, optimizer=optimizer):
                optimizer.zero_grad()
                loss = model(torch.full((2, 6), 1.0 + hvd.rank())).square().mean()
                loss.backward()
                return loss

            for step in range(6):
                if step % 2:
                    closure()
                    optimizer.step()
                else:
                    assert optimizer.step(closure) > 0
            both.append((model, optimizer))
        assert_alike(*both)

    run_ranks(2, main)


def test_joins(run_ranks, assert_alike, deep):
    def main():
        both = []
        for model, optimizer in _each(deep):
            for steps in ((1, 3, 2), (2, 1, 2)):
                for step in range(steps[hvd.rank()]):
                    model(torch.full((2, 6), 1.0 + step + hvd.rank())).square().mean().backward()
                    optimizer.step()
                    optimizer.zero_grad()
                last = hvd.join()
                hvd.broadcast_parameters(model.state_dict(), root_rank=last)
                hvd.broadcast_optimizer_state(optimizer, root_rank=last)
            both.append((model, optimizer))
        assert_alike(*both)

    run_ranks(3, main)


def test_who_has_made_the_most_steps_joins_last(start_ranks, deep):
    def main(link):
        model = deep()
        adam = _adam(model.parameters())
        optimizer = hvd.DistributedOptimizer(adam, overlap_forward=model)
        lasts = []
        for _ in range(20):
            for step in range(1 + hvd.rank()):
                model(torch.full((2, 6), 1.0 + step)).square().mean().backward()
                optimizer.step()
                optimizer.zero_grad()
            link.tell("joins")
            if hvd.rank() == 0:
                link.hear()
            lasts.append(hvd.join())
        return lasts

    job = start_ranks(2, main)
    for _ in range(20):
        assert [job.hear(rank) for rank in (0, 1)] == ["joins"] * 2
        job.tell(0, "the other one joins")
    assert [ended.value for ended in job.all_ended()] == [[1] * 20] * 2


def test_frozen_and_unused_parameters(run_ranks, train_both, assert_alike, deep):
    def main():
        def between(model, optimizer, step):
            optimizer.zero_grad()
            model[2].requires_grad_(step % 3 == 0)

        def forward(model, batch, step):
            return model(batch) if step != 2 else model[3](torch.tanh(model[0](batch))[:, :9])

        assert_alike(*train_both(deep, _adam, between=between, forward=forward))

    run_ranks(2, main)


class _Compressor:
    @staticmethod
    def compress(tensor):
        return tensor, None

    @staticmethod
    def decompress(tensor, ctx):
        return tensor


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"op": hvd.Adasum}, "Adasum"),
        ({"compression": hvd.PowerSGD()}, "PowerSGD"),
        ({"compression": _Compressor}, "Compressor"),
        ({"overlap_forward": "model"}, "torch.nn.Module"),
    ],
)
def test_what_does_not_go_together_is_refused_in_words(run_ranks, deep, options, words):
    def main():
        model = deep()
        with pytest.raises(ValueError, match=words):
            hvd.DistributedOptimizer(
                _adam(model.parameters()), **{"overlap_forward": model, **options}
            )
        assert not model._forward_pre_hooks

    run_ranks(1, main)


def test_lbfgs_and_compiled_models_are_refused(run_ranks, deep):
    def main():
        model = deep()
        with pytest.raises(ValueError, match="LBFGS"):
            hvd.DistributedOptimizer(torch.optim.LBFGS(model.parameters()), overlap_forward=model)
        scripted = torch.jit.trace(model, torch.ones(1, 6))
        compiled = torch.compile(deep(), backend="eager")
        for other in (scripted, compiled, torch.nn.Sequential(torch.nn.ReLU(), scripted)):
            with pytest.raises(ValueError, match="compiled or scripted"):
                hvd.DistributedOptimizer(_adam(model.parameters()), overlap_forward=other)

    run_ranks(1, main)
