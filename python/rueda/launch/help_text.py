"""The usage line and the help text, laid out for the width of the terminal."""

from __future__ import annotations

import os
import textwrap
from collections.abc import Mapping

from rueda.launch.option import Group, Option
from rueda.launch.option_table import GROUPS, NO_EFFECT, REFUSED

USAGE = "ruedarun [options] script.py [arguments]"
ABOUT = "Start the processes of one job on this host, show their output, and say why a job failed."
EXAMPLES = (
    "ruedarun -np 2 train.py --epochs 3",
    "ruedarun -np 4 -m package.train",
    "ruedarun -np 2 --log-dir logs train.py",
    "ruedarun -np 2 --no-python ./run.sh",
    "ruedarun -np 2 --as-horovod train.py",
)
NOTE = (
    "Options of torchrun are also taken with underscores. Everything after the program is the "
    "program's own. Exit code: that of the rank that caused a failure, 128+n after signal n, 2 "
    "when the command is wrong and nothing was started."
)
_COLUMN = 30
_NARROWEST_TABLE = 64


def terminal_columns(environ: Mapping[str, str]) -> int:
    """Return the width to write for: ``COLUMNS``, else the terminal's, else 80."""
    text = environ.get("COLUMNS", "")
    if text.isdigit() and int(text) > 0:
        return int(text)
    for descriptor in (1, 2, 0):
        try:
            columns = os.get_terminal_size(descriptor).columns
        except OSError:
            continue
        if columns > 0:
            return columns
    return 80


def usage_text() -> str:
    """Return what is printed when no program is given at all."""
    return f"usage: {USAGE}\n'ruedarun --help' lists the options."


def help_text(columns: int) -> str:
    """Return the whole help text for a terminal of ``columns`` columns."""
    # One column is left free: some terminals break a line that fills the last one.
    width = max(min(columns - 1, 96), 24)
    lines = textwrap.wrap(f"usage: {USAGE}", width, subsequent_indent="       ")
    lines += ["", *textwrap.wrap(ABOUT, width)]
    for group in GROUPS:
        lines += ["", f"{group.title}:"]
        for option in group.options:
            lines += _entry(option, width)
    for title, group in (
        (f"{NO_EFFECT.title} (ruedarun says why):", NO_EFFECT),
        (f"{REFUSED.title} in this version, in words:", REFUSED),
    ):
        lines += ["", *textwrap.wrap(title, width), *_names(group, width)]
    lines += ["", "examples:", *(f"  {example}" for example in EXAMPLES)]
    lines += ["", *textwrap.wrap(NOTE, width)]
    return "\n".join(lines)


def _names(group: Group, width: int) -> list[str]:
    """List the names of options that need no text."""
    names = [name for option in group.options for name in _spellings(option)]
    pad = "  "
    return textwrap.wrap(
        " ".join(names), width, initial_indent=pad, subsequent_indent=pad, break_on_hyphens=False
    )


def _spellings(option: Option) -> list[str]:
    """Return an option's names; ``--x`` and ``--no-x`` as one."""
    shown = []
    for name in option.names:
        both = f"--no-{name[2:]}" in option.negative
        shown.append(f"--[no-]{name[2:]}" if both else name)
    rest = [name for name in option.negative if f"--{name[5:]}" not in option.names]
    return shown + rest


def _entry(option: Option, width: int) -> list[str]:
    """Lay out one option: beside its text where there is room, else above it."""
    # The no-break space keeps a value on the line of its name.
    value = f"\N{NO-BREAK SPACE}{option.value}" if option.value else ""
    value = value.replace(" ", "\N{NO-BREAK SPACE}")
    heading = ", ".join(_spellings(option)) + value
    column = _COLUMN if width >= _NARROWEST_TABLE else 6
    pad = " " * column
    body = textwrap.wrap(option.help, width, initial_indent=pad, subsequent_indent=pad)
    if len(heading) <= column - 4:
        body[0] = f"  {heading}{body[0][2 + len(heading) :]}"
        lines = body
    else:
        above = textwrap.wrap(heading, width, initial_indent="  ", subsequent_indent="    ")
        lines = [*above, *body]
    return [line.replace("\N{NO-BREAK SPACE}", " ") for line in lines]
