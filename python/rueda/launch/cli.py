"""The command ruedarun, from argument vector to exit code."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

from rueda._environment import environment
from rueda.launch.command_line import split_words
from rueda.launch.options import Options, parse
from rueda.launch.usage import UsageError

WRONG_COMMAND = 2
CANNOT_START = 126


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code.

    Only what ``--help`` needs is imported before it is known that a job is to be run.

    Args:
        argv: Words after the command's name; those of this process if None.
    """
    words = sys.argv[1:] if argv is None else list(argv)
    try:
        return _main(words)
    except UsageError as error:
        print(f"ruedarun: {error}", file=sys.stderr)
        return WRONG_COMMAND
    except KeyboardInterrupt:
        return 130


def _main(argv: list[str]) -> int:
    from rueda.launch.help_text import help_text, terminal_columns, usage_text  # noqa: PLC0415
    from rueda.launch.this_host import count_workers, is_this_host  # noqa: PLC0415

    environ = environment()
    if not argv:
        print(usage_text(), file=sys.stderr)
        return WRONG_COMMAND
    words = split_words(argv)
    if "help" in words.given:
        _show(help_text(terminal_columns(environ)))
        return 0
    if "version" in words.given:
        print(f"ruedarun {_version()}")
        return 0
    if "check_build" in words.given:
        from rueda.launch.check_build import build_text  # noqa: PLC0415

        _show(build_text(environ, terminal_columns(environ)))
        return 0
    options = parse(
        words, count=lambda word: count_workers(word, environ), is_this_host=is_this_host
    )
    return _run(options, environ, [*_own_words(), *argv])


def _run(options: Options, environ: dict[str, str], repeat: list[str]) -> int:
    # These bring subprocess, ctypes and socket.
    from rueda.launch.conclusion import in_words  # noqa: PLC0415
    from rueda.launch.job import StartError  # noqa: PLC0415
    from rueda.launch.run import run  # noqa: PLC0415

    try:
        return run(options, environ, lambda conclusion: in_words(conclusion, repeat))
    except StartError as error:
        print(f"ruedarun: {error}", file=sys.stderr)
        return CANNOT_START


def _show(text: str) -> None:
    """Print a text to a reader that may have seen enough of it (``ruedarun --help | head``)."""
    try:
        print(text, flush=True)
    except BrokenPipeError:
        # The interpreter flushes once more at its exit: that must not meet the closed pipe.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _version() -> str:
    import rueda  # noqa: PLC0415 - already loaded

    try:
        return str(rueda.__version__)
    except ImportError:  # Its metadata exists only where rueda is installed.
        return "from a source tree that is not installed"


def _own_words() -> list[str]:
    """Return how the user called this command, to be repeated."""
    as_module = sys.argv[0].endswith("__main__.py")
    return ["python", "-m", "rueda.launch"] if as_module else ["ruedarun"]
