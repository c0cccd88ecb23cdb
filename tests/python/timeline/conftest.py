"""Loads what the timeline's tests share: how traces are read, and random programs."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

_PROPERTIES = Path(__file__).parents[1] / "properties"

# By their paths: the folders of tests are no packages.
for _path in (
    Path(__file__).with_name("traces.py"),
    *(
        _PROPERTIES / f"{name}.py"
        for name in ("program_model", "program_runner", "random_programs")
    ),
):
    if _path.stem in sys.modules:
        continue
    _spec = importlib.util.spec_from_file_location(_path.stem, _path)
    assert _spec is not None
    assert _spec.loader is not None
    _module = importlib.util.module_from_spec(_spec)
    sys.modules[_path.stem] = _module
    _spec.loader.exec_module(_module)
