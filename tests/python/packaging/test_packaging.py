"""What is shipped, and what a build and an import without PyTorch do."""

from __future__ import annotations

import subprocess
import sys
import tarfile
import venv
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
DEADLINE_S = 100.0
NO_TORCH = "import sys; sys.modules['torch'] = None; "


def run(*words: object, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    """Run a command under a deadline; its output and errors come together."""
    return subprocess.run(
        [str(word) for word in words],
        cwd=cwd,
        check=False,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=DEADLINE_S,
    )


def python(code: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    return run(sys.executable, "-c", code, cwd=cwd)


@pytest.fixture(scope="module")
def shipped(tmp_path_factory: pytest.TempPathFactory) -> tuple[set[str], int]:
    """The paths in the source archive, without its first folder, and its size in bytes."""
    folder = tmp_path_factory.mktemp("sdist")
    build = "import sys, scikit_build_core.build as b; print(b.build_sdist(sys.argv[1]))"
    result = run(sys.executable, "-c", build, folder, cwd=ROOT)
    assert result.returncode == 0, result.stdout
    archive = next(folder.glob("rueda-*.tar.gz"))
    with tarfile.open(archive) as tar:
        return {name.partition("/")[2] for name in tar.getnames()}, archive.stat().st_size


def test_the_source_archive_holds_what_a_build_needs(shipped: tuple[set[str], int]) -> None:
    sources = {
        str(path.relative_to(ROOT))
        for folder in ("csrc", "cmake", "python")
        for path in (ROOT / folder).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts and path.suffix != ".so"
    }
    top = {"CMakeLists.txt", "LICENSE", "README.md", "pyproject.toml"}
    assert sorted((sources | top) - shipped[0]) == []


def test_the_source_archive_holds_nothing_else_by_accident(shipped: tuple[set[str], int]) -> None:
    paths, size = shipped
    expected = {"csrc", "cmake", "python", "docs", "examples"}
    expected |= {"CMakeLists.txt", "LICENSE", "README.md", "pyproject.toml", "PKG-INFO"}
    assert sorted({path.partition("/")[0] for path in paths} - expected) == []
    assert size < 2 << 20


@pytest.fixture
def configure(tmp_path: Path):
    """Configure a build for a Python without any package, and return what CMake says."""
    bare = tmp_path / "bare"
    venv.EnvBuilder(with_pip=False, symlinks=True).create(bare)
    pybind11 = run(sys.executable, "-m", "pybind11", "--cmakedir").stdout.strip()

    def with_options(*options: str) -> subprocess.CompletedProcess[str]:
        known = [f"-DPython_EXECUTABLE={bare}/bin/python", f"-Dpybind11_DIR={pybind11}"]
        cmake = [sys.executable, "-m", "cmake", "-G", "Ninja"]
        return run(*cmake, "-S", ROOT, "-B", tmp_path / "build", *known, *options)

    return with_options


def test_a_build_without_pytorch_leaves_its_part_out_and_says_so(configure) -> None:
    result = configure()
    assert result.returncode == 0, result.stdout
    lines = [line for line in result.stdout.splitlines() if "without TORCH" in line]
    assert len(lines) == 1
    assert "--no-build-isolation" in lines[0]


def test_a_build_that_must_have_pytorch_fails_without_it(configure) -> None:
    result = configure("-DRUEDA_WITH_TORCH=ON")
    assert result.returncode != 0
    assert "RUEDA_WITH_TORCH=ON, but no PyTorch" in " ".join(result.stdout.split())


def test_the_launcher_and_the_version_need_no_pytorch(tmp_path: Path) -> None:
    code = NO_TORCH + "import rueda; print(rueda.__version__)"
    assert python(code, tmp_path).stdout.strip().count(".") == 2
    code = NO_TORCH + "from rueda.launch.cli import main; sys.exit(main(['--help']))"
    result = python(code, tmp_path)
    assert result.returncode == 0, result.stdout
    assert "usage: ruedarun" in result.stdout


def test_using_a_collective_without_pytorch_is_an_import_error(tmp_path: Path) -> None:
    code = NO_TORCH + "import rueda; rueda.allreduce"
    assert "ModuleNotFoundError" in python(code, tmp_path).stdout
