"""docs/migrating-from-horovod.md: its examples run, and its table is true of the names."""

from __future__ import annotations

import functools
import importlib
import re
from pathlib import Path

import pytest
import torch

import rueda as hvd
from rueda.launch.option_table import BY_NAME, REFUSED

PAGE = Path(__file__).parents[3] / "docs" / "migrating-from-horovod.md"
TEXT = PAGE.read_text()
EXAMPLES = re.findall(r"^```python\n(.*?)^```", TEXT, re.MULTILINE | re.DOTALL)
ROW = re.compile(r"^\| (`.*`) \| (same|better|different|not yet) \|", re.MULTILINE)
STATES = {
    name: state for names, state in ROW.findall(TEXT) for name in re.findall(r"`([\w.]+)`", names)
}


def _is_there(name: str) -> bool:
    if name.startswith("DistributedOptimizer."):
        parameters = [torch.nn.Parameter(torch.ones(1))]
        wrapped = hvd.DistributedOptimizer(torch.optim.SGD(parameters, lr=0.1))
        return hasattr(wrapped, name.partition(".")[2])
    found, path = hvd, "rueda"
    for part in name.split("."):
        path = f"{path}.{part}"
        if not hasattr(found, part):
            try:
                importlib.import_module(path)
            except ModuleNotFoundError:
                return False
        found = getattr(found, part)
    return True


@pytest.mark.parametrize("number", range(len(EXAMPLES)))
def test_every_example_runs(run_ranks, number):
    def main():
        exec(compile(EXAMPLES[number], f"{PAGE.name}, example {number}", "exec"), {})

    run_ranks(2, main, env={"RUEDA_DYNAMIC_PROCESS_SETS": "1"})


def test_names_exist_unless_the_table_says_not_yet(run_ranks):
    def main():
        return {name: _is_there(name) for name in STATES}

    (found,) = run_ranks(1, main)
    assert len(found) > 60
    assert found == {name: state != "not yet" for name, state in STATES.items()}


def test_every_name_of_the_interface_is_on_the_page():
    words = set(re.findall(r"`([\w.]+)", TEXT))
    assert set(hvd.__all__) - {"__version__"} <= words


def test_the_options_on_the_page_are_those_of_the_launcher():
    rows = TEXT[TEXT.index("### The launcher") : TEXT.index("## What is not there yet")]
    words = functools.partial(re.findall, r"`(-[\w-]+)`")
    assert set(words(rows)) <= BY_NAME.keys()
    refused = next(line for line in rows.splitlines() if line.endswith("refused in words |"))
    assert set(words(refused)) <= {name for option in REFUSED.options for name in option.names}
    assert all(set(words(refused)) & set(option.names) for option in REFUSED.options)
