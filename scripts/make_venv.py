"""Make the virtual environment of the Makefile, with a PyTorch in it.

    python3 -I scripts/make_venv.py FOLDER REQUIREMENT

The PyTorch that the starting interpreter can import is shared with the environment where it is new
enough; otherwise the requirement (torch==...) is installed by pip.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import sysconfig
import venv
from importlib.util import find_spec
from pathlib import Path

OLDEST_TORCH = (2, 10)  # the first with torch/headeronly/version.h
SHARED_TORCH = "rueda_shared_torch.pth"

_LOOK = """
import json, pathlib, torch
print(json.dumps([torch.__version__, str(pathlib.Path(torch.__file__).resolve().parents[1])]))
"""


def missing_tools() -> list[str]:
    """Return what this machine lacks for a build, one line each, with Debian's package."""
    headers = Path(sysconfig.get_path("include"), "Python.h")
    checks = {
        "no C++ compiler (Debian: g++)": any(map(shutil.which, ("c++", "g++", "clang++"))),
        f"no {headers} (Debian: python3-dev)": headers.exists(),
        "no module ensurepip (Debian: python3-venv)": find_spec("ensurepip") is not None,
    }
    return [problem for problem, fine in checks.items() if not fine]


def torch_at_hand() -> tuple[str, str] | None:
    """Return version and folder of the PyTorch that this interpreter imports, or None."""
    command = [sys.executable, "-c", _LOOK]
    look = subprocess.run(command, check=False, capture_output=True, text=True)
    if look.returncode != 0:
        return None
    version, folder = json.loads(look.stdout.splitlines()[-1])
    return version, folder


def is_new_enough(version: str) -> bool:
    """Tell whether rueda builds against this version of PyTorch, such as "2.13.0+cpu"."""
    major, minor = version.split(".")[:2]
    return (int(major), int(minor)) >= OLDEST_TORCH


def share(folder: str, python: Path) -> None:
    """Append a folder to the module path of an environment, after its own packages."""
    ask = [str(python), "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"]
    own = subprocess.run(ask, check=True, capture_output=True, text=True).stdout.strip()
    Path(own, SHARED_TORCH).write_text(folder + "\n")


def main(folder: str, requirement: str) -> int | str:
    """Make the environment; the result is for sys.exit."""
    if problems := missing_tools():
        return "rueda cannot be built here:\n  " + "\n  ".join(problems)
    python = Path(folder, "bin", "python")
    venv.EnvBuilder(with_pip=True, symlinks=True).create(folder)
    at_hand = torch_at_hand()
    if at_hand and is_new_enough(at_hand[0]):
        print(f"PyTorch {at_hand[0]} of {at_hand[1]} is used", flush=True)
        share(at_hand[1], python)
        return 0
    found = f"PyTorch {at_hand[0]} is too old" if at_hand else f"{sys.executable} has no PyTorch"
    print(f"{found}: installing {requirement} into {folder}", flush=True)
    command = [str(python), "-m", "pip", "install", requirement]
    return subprocess.run(command, check=False).returncode


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
