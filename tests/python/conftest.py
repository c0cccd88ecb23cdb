"""Fixtures for tests whose ranks are processes."""

from __future__ import annotations

import importlib.util
import signal
import sys
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

# By its path: the folders of tests are no packages.
_spec = importlib.util.spec_from_file_location("ranks", Path(__file__).with_name("ranks.py"))
assert _spec is not None
assert _spec.loader is not None
ranks = importlib.util.module_from_spec(_spec)
sys.modules["ranks"] = ranks
_spec.loader.exec_module(ranks)

if TYPE_CHECKING:
    from ranks import Finished, Job, RankServer

_FIGURES = pytest.StashKey[list[str]]()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--full-size",
        action="store_true",
        help="run the long checks with as many repeats and as large tensors as a release needs",
    )


def pytest_configure() -> None:
    # A shell has its background jobs ignore Ctrl-C, and so would every rank that tests start.
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture
def full_size(request: pytest.FixtureRequest) -> bool:
    """Whether long checks are to be run in full."""
    return bool(request.config.getoption("--full-size"))


@pytest.fixture(scope="session")
def report_figure(pytestconfig: pytest.Config) -> Callable[[str], None]:
    """``report_figure(text)`` shows what a test measured in a summary at the end of the run.

    The text is also printed, for the report of a test that fails or is ended by its timeout.
    """
    figures = pytestconfig.stash.setdefault(_FIGURES, [])

    def report(text: str) -> None:
        print(text)
        figures.append(text)

    return report


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> None:
    if figures := config.stash.get(_FIGURES, []):
        terminalreporter.section("figures")
        for text in figures:
            terminalreporter.write_line(text)


@pytest.fixture(scope="session")
def rank_server() -> Iterator[RankServer]:
    server = ranks.RankServer()
    yield server
    server.stop()


@pytest.fixture
def start_ranks(rank_server: RankServer) -> Iterator[Callable[..., Job]]:
    """Start ``main(link, *arguments)`` on ``size`` ranks and return the job.

    ``link.tell`` and ``link.hear`` talk with ``job.hear`` and ``job.tell``. With ``init=False`` the
    ranks do not call ``rueda.init()`` and ``rueda.shutdown()`` around ``main``. ``env`` is added to
    the environment of all ranks, or of each if it is a list. With ``full_exit`` the ranks end as
    scripts do; otherwise they leave out the slow part, that is taking modules apart.
    """
    jobs: list[Job] = []

    def start(size: int, main: Callable[..., Any], *arguments: Any, **options: Any) -> Job:
        jobs.append(rank_server.start(size, main, *arguments, **options))
        return jobs[-1]

    yield start
    for job in jobs:
        job.close()


@pytest.fixture
def run_ranks(start_ranks: Callable[..., Job]) -> Callable[..., list[Any]]:
    """Run ``main(*arguments)`` on ``size`` ranks and return what they returned.

    Takes the options of ``start_ranks``. The test fails if a rank raises, and if anything is left
    of the job at its end.
    """

    def run(size: int, main: Callable[..., Any], *arguments: Any, **options: Any) -> list[Any]:
        job = start_ranks(size, main, *arguments, interactive=False, **options)
        results: list[Any] = job.results()
        job.wait_until_empty()
        return results

    return run


@pytest.fixture
def run_script(tmp_path: Path) -> Callable[..., Finished]:
    """Run a script under a launcher: ``run_script(launcher, size, source, *arguments, env={})``.

    The launchers are "ruedarun", "torchrun", "mpirun" and "python". Fails if a process is left.
    """

    def run(launcher: str, size: int, source: str, *arguments: str, **options: Any) -> Finished:
        script = tmp_path / "train.py"
        script.write_text(textwrap.dedent(source))
        finished: Finished = ranks.run_script(launcher, size, script, *arguments, **options)
        return finished

    return run
