"""Methods that take their arguments from Python's stack refuse those of other types."""

from __future__ import annotations

import pytest
import torch

from rueda import _torch

SUM = 1


@pytest.mark.parametrize(
    ("arguments", "error", "text"),
    [
        (([1.0, 2.0], None, "x", SUM), TypeError, "expected a tensor, not list"),
        ((torch.ones(2), 7, "x", SUM), TypeError, "expected a tensor, not int"),
        ((torch.ones(2), None, b"x", SUM), TypeError, "name must be a string, not bytes"),
        ((torch.ones(2), None, "\ud800", SUM), UnicodeEncodeError, "surrogate"),
        ((torch.ones(2), None, "x", "sum"), TypeError, "integer"),
        ((torch.ones(2), None, "x", 2**40), ValueError, "1099511627776 is out of range"),
        ((torch.ones(2), None, "x", 2**70), OverflowError, "too"),
        ((torch.ones(2), None, "x", SUM, "2"), TypeError, "number"),
        ((torch.ones(2), None, "x", SUM, 1.0, None), TypeError, "number"),
        ((torch.ones(2), None, "x", SUM, 1.0, 1.0, -1), ValueError, "-1 is out of range"),
        ((torch.ones(2), None, "x"), TypeError, "expected 4 to . arguments, not 3"),
        ((torch.ones(2), None, "x", SUM, 1.0, 1.0, 0, 0, 0), TypeError, "arguments, not 9"),
    ],
)
def test_arguments_of_other_types_are_refused(make_world, arguments, error, text):
    operations = make_world(1).operations[0]
    for call in (operations.allreduce, operations.allreduce_now):
        with pytest.raises(error, match=text):
            call(*arguments)
    assert len(operations) == 0
    assert torch.equal(operations.allreduce_now(torch.ones(2), None, "x", SUM), torch.ones(2))


def test_a_handle_is_an_integer(make_world):
    operations = make_world(1).operations[0]
    with pytest.raises(TypeError, match="integer"):
        operations.wait("x")
    with pytest.raises(TypeError, match="Operations"):
        _torch.Operations.wait(object(), 0)
