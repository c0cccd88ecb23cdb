"""The extension module for PyTorch, or one sentence that says why it is not usable."""

from __future__ import annotations

import importlib

import torch

from rueda import _build_info

_REINSTALL = (
    "build it again in the environment of your project, in rueda's source folder: "
    "pip install --no-build-isolation --force-reinstall --no-deps ."
)


def _check() -> None:
    built_for = _build_info.torch_version
    if not built_for:
        raise ImportError(f"this build of rueda has no PyTorch part; {_REINSTALL}")
    found = torch.__version__
    if built_for.split("+")[0] != found.split("+")[0]:
        raise ImportError(
            f"this build of rueda is for PyTorch {built_for}, but this environment has {found}; "
            f"{_REINSTALL}"
        )


_check()
# torch was imported first: its libraries are what the module links.
native = importlib.import_module("rueda._torch")
