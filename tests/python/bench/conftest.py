"""Loads what tests of the benchmark share: rows made by hand, and a library that is played."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

# By their paths: the folders of tests are no packages.
for _name in ("bench_rows", "control_rows_by_hand", "fake_horovod"):
    _spec = importlib.util.spec_from_file_location(_name, Path(__file__).with_name(f"{_name}.py"))
    assert _spec is not None
    assert _spec.loader is not None
    _module = importlib.util.module_from_spec(_spec)
    sys.modules[_name] = _module
    _spec.loader.exec_module(_module)
