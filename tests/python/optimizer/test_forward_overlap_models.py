"""overlap_forward with models that use their parameters in unusual ways."""

from __future__ import annotations

import pytest
import torch

import rueda as hvd


def _sgd(parameters):
    return torch.optim.SGD(parameters, lr=0.1, momentum=0.9)


class _Layers(torch.nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(5)
        self.scale = torch.nn.Parameter(torch.ones(6))
        self.first = torch.nn.Linear(6, 6)
        self.second = torch.nn.Linear(6, 6)
        self.third = torch.nn.Linear(6, 6)


class _WeightsOfChildren(_Layers):
    """The second layer is never called, and the third's weight is used before it is."""

    def forward(self, x):
        x = torch.tanh(self.first(x * self.scale))
        x = torch.nn.functional.linear(x, self.second.weight, self.second.bias)
        return self.third(x + self.third.weight.sum(0))


class _Tied(_Layers):
    def __init__(self):
        super().__init__()
        self.third.weight = self.first.weight

    def forward(self, x):
        return self.third(torch.tanh(self.second(torch.tanh(self.first(x * self.scale)))))


class _TiedByHand(_Layers):
    """As embeddings are: the third layer's weight is nobody's but the first one's."""

    def forward(self, x):
        x = torch.tanh(self.second(torch.tanh(self.first(x * self.scale))))
        return torch.nn.functional.linear(x, self.first.weight, self.third.bias)


class _Attention(torch.nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(5)
        layer = torch.nn.TransformerEncoderLayer(6, 2, 16, dropout=0.0, batch_first=True)
        self.encoder = torch.nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
        self.head = torch.nn.utils.parametrizations.weight_norm(torch.nn.Linear(6, 3))

    def forward(self, x):
        return self.head(self.encoder(x[:, None, :])).squeeze(1)


class _Loop(_Layers):
    """One layer several times."""

    def forward(self, x):
        for _ in range(3):
            x = torch.tanh(self.first(x))
        return self.second(x) * self.scale


@pytest.mark.parametrize("size", [2, 3])
@pytest.mark.parametrize("kind", [_WeightsOfChildren, _Tied, _TiedByHand, _Attention, _Loop])
def test_weights_are_updated_before_whoever_uses_them(
    run_ranks, train_both, assert_alike, left, kind, size
):
    def main():
        deferred = []

        def between(model, optimizer, step):
            optimizer.zero_grad()
            if optimizer._overlap is not None:
                deferred.append(left(optimizer))

        assert_alike(*train_both(kind, _sgd, between=between))
        assert min(deferred) > 4

    run_ranks(size, main)


def test_parameters_without_a_module_that_is_called_are_made_at_the_models_start(run_ranks, left):
    def main():
        model = _WeightsOfChildren()
        optimizer = hvd.DistributedOptimizer(
            _sgd(model.parameters()),
            groups=[[p] for p in model.parameters()],
            overlap_forward=model,
        )
        seen = []
        model.first.register_forward_hook(lambda *_: seen.append(left(optimizer)))
        for _ in range(3):
            model(torch.ones(1, 6)).sum().backward()
            optimizer.step()
        # Of seven: the scale, the second layer's two and the third's weight, the first's two.
        assert seen == [0, 1, 1]

    run_ranks(2, main)


class _TwoWays(_Layers):
    def forward(self, x, swapped=False):
        layers = [self.first, self.second, self.third]
        for layer in layers[::-1] if swapped else layers:
            x = torch.tanh(layer(x))
        return x * self.scale


class _SkipsSome(_Layers):
    def forward(self, x, swapped=False):
        x = torch.tanh(self.first(x))
        return self.third(x if swapped else self.second(x)) * self.scale


@pytest.mark.filterwarnings("ignore:overlap_forward")
@pytest.mark.parametrize("kind", [_TwoWays, _SkipsSome])
@pytest.mark.parametrize("swapped_in", [{3}, {0, 3, 4}, {1, 3, 5, 7, 9, 11}])
def test_another_order_of_modules(run_ranks, train_both, assert_alike, kind, swapped_in):
    def main():
        def forward(model, batch, step):
            return model(batch, swapped=step in swapped_in)

        assert_alike(*train_both(kind, _sgd, forward=forward, steps=14))

    run_ranks(2, main)


def test_a_model_whose_order_never_settles_is_told_and_left_alone(run_ranks, left):
    def main():
        model = _TwoWays()
        optimizer = hvd.DistributedOptimizer(
            _sgd(model.parameters()),
            groups=[[p] for p in model.parameters()],
            overlap_forward=model,
        )

        def train(step):
            model(torch.ones(1, 6), swapped=step % 2 == 1).sum().backward()
            optimizer.step()
            optimizer.zero_grad()

        with pytest.warns(UserWarning, match="in another order 5 times"):
            for step in range(30):
                train(step)
        assert optimizer._overlap._recording is None
        for step in range(5):
            train(step)
            assert not optimizer._overlap._records

    run_ranks(2, main)


def test_training_and_evaluation_by_turns(run_ranks, train_both, assert_alike):
    """In evaluation a transformer's layer takes a short cut past its modules."""

    def main():
        outputs = []

        def between(model, optimizer, step):
            optimizer.zero_grad()
            model.eval()
            with torch.no_grad():
                outputs.append(model(torch.ones(2, 6)))
            if step % 3 == 0:
                outputs.append(model(torch.ones(2, 6)).detach())  # with a graph
            model.train()

        assert_alike(*train_both(_Attention, _sgd, between=between, steps=9))
        half = len(outputs) // 2
        for usual, overlapped in zip(outputs[:half], outputs[half:], strict=True):
            assert torch.equal(usual, overlapped)

    run_ranks(2, main)


def test_parts_of_the_model_called_by_themselves(run_ranks, train_both, assert_alike):
    def main():
        def forward(model, batch, step):
            return model.third(torch.tanh(model.first(batch)))

        class Parts(_Layers):
            pass

        assert_alike(*train_both(Parts, _sgd, forward=forward))

    run_ranks(2, main)


def test_a_backward_pass_that_used_old_parameters_is_refused(run_ranks):
    def main():
        model = _Layers()
        optimizer = hvd.DistributedOptimizer(_sgd(model.parameters()), overlap_forward=model)
        output = torch.nn.functional.linear(torch.ones(1, 6), model.first.weight)
        output.sum().backward()
        optimizer.step()
        output = torch.nn.functional.linear(torch.ones(1, 6), model.first.weight)
        with pytest.raises(AssertionError, match=r"'parameter\.1'.* old value.*finish_step\(\)"):
            output.sum().backward()
        optimizer.finish_step()
        output = torch.nn.functional.linear(torch.ones(1, 6), model.first.weight)
        output.sum().backward()
        optimizer.step()

    run_ranks(2, main)


def test_a_forward_pass_that_fails_in_the_middle(run_ranks, train_both, assert_alike):
    def main():
        def forward(model, batch, step):
            if step % 2:
                with pytest.raises(RuntimeError, match="shapes"):
                    model.third.forward(torch.ones(1, 7))
                with pytest.raises(RuntimeError, match="shapes"):
                    model(torch.ones(1, 7))
            return model(batch)

        assert_alike(*train_both(_Loop, _sgd, forward=forward))

    run_ranks(2, main)


def test_parameters_of_another_model_are_updated_in_the_step(run_ranks, assert_alike, left):
    def main():
        both = []
        for overlaps in (False, True):
            model, other = _Loop(), _TwoWays()
            parameters = [*model.parameters(), *other.parameters()]
            optimizer = hvd.DistributedOptimizer(
                _sgd(parameters),
                groups=[[p] for p in parameters],
                overlap_forward=model if overlaps else None,
            )
            for step in range(4):
                batch = torch.full((2, 6), 1.0 + step + hvd.rank())
                (model(batch) + other(batch)).square().sum().backward()
                optimizer.step()
                assert not overlaps or left(optimizer) == 7
                optimizer.zero_grad()
            optimizer.finish_step()
            both.append((torch.nn.ModuleList([model, other]), optimizer))
        assert_alike(*both)

    run_ranks(2, main)
