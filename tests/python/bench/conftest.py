"""Loads the rows that tests of figures and tables are made of."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

# By its path: the folders of tests are no packages.
_spec = importlib.util.spec_from_file_location(
    "bench_rows", Path(__file__).with_name("bench_rows.py")
)
assert _spec is not None
assert _spec.loader is not None
_module = importlib.util.module_from_spec(_spec)
sys.modules["bench_rows"] = _module
_spec.loader.exec_module(_module)
