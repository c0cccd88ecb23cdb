"""DistributedOptimizer refuses what it cannot do, in words, and changes nothing."""

from __future__ import annotations

import pytest
import torch

import rueda as hvd


@pytest.mark.parametrize("size", [1, 2])
@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"op": hvd.Max}, "gradients can be reduced with rueda.Average or rueda.Sum"),
        ({"op": 17}, "op=17"),
        ({"groups": 0}, "groups=0 must be a whole number from 1"),
        ({"groups": True}, "groups=True must be a whole number from 1"),
        ({"groups": "all"}, "groups='all' must be a whole number"),
        ({"groups": [["0.weight"]]}, "groups must consist of lists of parameters"),
        ({"groups": [[torch.ones(3)]]}, r"a tensor of shape \[3\] that is no parameter"),
        ({"backward_passes_per_step": 0}, "backward_passes_per_step=0 must be a whole number"),
        ({"backward_passes_per_step": 1.5}, "backward_passes_per_step=1.5"),
        ({"backward_passes_per_step": True}, "backward_passes_per_step=True"),
        ({"gradient_predivide_factor": 0.0}, "gradient_predivide_factor=0.0 must be above 0"),
        ({"gradient_predivide_factor": 2.0, "op": hvd.Sum}, "needs op=rueda.Average"),
        ({"gradient_predivide_factor": 2.0, "op": hvd.Adasum}, "needs op=rueda.Average"),
        ({"op": hvd.Adasum, "compression": hvd.PowerSGD()}, "op=rueda.Adasum takes rueda.Comp"),
        ({"process_set": hvd.ProcessSet([0])}, "not registered"),
        ({"process_set": None}, "process_set=None is no rueda.ProcessSet"),
    ],
)
def test_wrong_options(run_ranks, make_model, size, options, text):
    def main():
        model = make_model()
        with pytest.raises(ValueError, match=text):
            hvd.DistributedOptimizer(torch.optim.SGD(model.parameters(), lr=0.1), **options)
        model(torch.ones(1, 6)).sum().backward()
        model(torch.ones(1, 6)).sum().backward()

    run_ranks(size, main)


@pytest.mark.parametrize("size", [1, 2])
def test_it_answers_for_what_scripts_read_of_horovods_optimizer(run_ranks, make_model, size):
    def main():
        model = make_model()
        plain = torch.optim.Adam(model.parameters(), lr=0.1)
        optimizer = hvd.DistributedOptimizer(
            plain,
            named_parameters=model.named_parameters(),
            backward_passes_per_step=2,
            gradient_predivide_factor=4.0,
        )
        assert optimizer.backward_passes_per_step == 2
        assert optimizer.gradient_predivide_factor == 4.0
        assert optimizer.op == hvd.Average
        assert optimizer.sparse_as_dense is False
        assert optimizer.process_set is hvd.global_process_set
        assert optimizer._parameter_names == {p: name for name, p in model.named_parameters()}
        optimizer.set_backward_passes_per_step(3)
        assert optimizer.backward_passes_per_step == 3
        with pytest.raises(AttributeError, match="'Adam' object has no attribute 'nonsense'"):
            _ = optimizer.nonsense
        unnamed = hvd.DistributedOptimizer(torch.optim.SGD(make_model().parameters(), lr=0.1))
        assert len(set(unnamed._parameter_names.values())) == 4

    run_ranks(size, main)


def test_a_users_optimizer_may_answer_for_missing_names_itself(run_ranks, make_model):
    class Answering(torch.optim.SGD):
        def __getattr__(self, name):
            if name == "answer":
                return 42
            raise AttributeError(name)

    def main():
        optimizer = hvd.DistributedOptimizer(Answering(make_model().parameters(), lr=0.1))
        assert optimizer.answer == 42
        assert not hasattr(optimizer, "nonsense")

    run_ranks(2, main)


def test_named_parameters_are_checked(run_ranks, make_model):
    def main():
        model = make_model()
        named = list(model.named_parameters())
        cases = [
            ([parameter for _, parameter in named], "sequence of pairs"),
            ([(name,) for name, _ in named], "sequence of pairs"),
            ([*named, named[0]], "the name '0.weight' twice"),
            (named[:2], r"lacks 2 of the optimizer's 4 parameters \(the first is number 2"),
            ([], "lacks 4 of the optimizer's 4"),
        ]
        for wrong, text in cases:
            with pytest.raises(ValueError, match=text):
                hvd.DistributedOptimizer(torch.optim.SGD(model.parameters(), lr=0.1), wrong)
        # More names than the optimizer has parameters are fine, and so is a generator.
        optimizer = torch.optim.SGD(model[0].parameters(), lr=0.1)
        hvd.DistributedOptimizer(optimizer, named_parameters=model.named_parameters())

    run_ranks(2, main)


def test_parameters_that_cannot_be_reduced_are_named(run_ranks):
    def main():
        odd = torch.nn.Parameter(torch.ones(2).to(torch.float8_e4m3fn))
        with pytest.raises(ValueError, match=r"parameter 'odd'.*float8_e4m3fn"):
            hvd.DistributedOptimizer(torch.optim.SGD([odd], lr=0.1), [("odd", odd)])

    run_ranks(2, main)


@pytest.mark.parametrize("what", ["shape", "dtype", "number", "op", "compression"])
def test_ranks_that_disagree_about_the_model_are_told_on_all_of_them(run_ranks, what):
    def main():
        odd = hvd.rank() == 1
        parameters = [
            torch.nn.Parameter(
                torch.ones(
                    4 if odd and what == "shape" else 3,
                    dtype=torch.float64 if odd and what == "dtype" else torch.float32,
                )
            )
            for _ in range(2 if odd and what == "number" else 1)
        ]
        optimizer = hvd.DistributedOptimizer(
            torch.optim.SGD(parameters, lr=0.1),
            [(f"layer.{index}", parameter) for index, parameter in enumerate(parameters)],
            op=hvd.Sum if odd and what == "op" else hvd.Average,
            compression=hvd.Compression.fp16
            if odd and what == "compression"
            else hvd.Compression.none,
        )
        sum(parameter.sum() for parameter in parameters).backward()
        with pytest.raises(hvd.HorovodInternalError) as caught:
            optimizer.step()
        hvd.barrier()
        return caught.value.code, caught.value.rank, str(caught.value)

    results = run_ranks(3, main)
    assert results[0] == results[1] == results[2]
    code, rank, text = results[0]
    assert (code, rank) == ("R201", 1)
    assert "rank 1" in text
    words = {
        "shape": r"'layer.0'",
        "dtype": "float64",
        "number": "number of tensors",
        "op": "Sum",
        "compression": "float16",
    }
    assert words[what] in text
