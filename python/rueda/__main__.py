"""The command ``rueda``, also ``python -m rueda``: what is to be done is its first word."""

from __future__ import annotations

import sys
from collections.abc import Sequence

USAGE = """\
usage: rueda COMMAND [options]

commands:
  bench    measure collectives and training steps beside the machine's limit and other libraries,
           or simulate the control plane

rueda COMMAND --help lists the options. ruedarun starts the processes of a training job.\
"""
WRONG_COMMAND = 2


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code.

    Args:
        argv: Words after the command's name; those of this process if None.
    """
    words = sys.argv[1:] if argv is None else list(argv)
    if not words:
        print(USAGE, file=sys.stderr)
        return WRONG_COMMAND
    if words[0] in ("-h", "--help"):
        print(USAGE)
        return 0
    if words[0] == "bench":
        from rueda._bench.cli import main as bench  # noqa: PLC0415 - its own words tell what it needs

        return bench(words[1:])
    from rueda.launch.usage import nearest  # noqa: PLC0415

    guess = nearest(words[0], ("bench",))
    hint = f"did you mean {guess}?" if guess else "rueda --help lists the commands"
    print(f"rueda: unknown command {words[0]!r}; {hint}", file=sys.stderr)
    return WRONG_COMMAND


if __name__ == "__main__":
    sys.exit(main())
