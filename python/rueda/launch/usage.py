"""What can be wrong with a command line, and how it is said."""

from __future__ import annotations

from collections.abc import Iterable


class UsageError(ValueError):
    """The command cannot be carried out as given; nothing was started.

    Its text is one line that says what was expected, what was found and what to do next.
    """


def nearest(word: str, known: Iterable[str]) -> str | None:
    """Return the known option that ``word`` was probably meant to be, or None.

    Dashes do not count. A name that begins with what was typed comes before one that only looks
    alike.
    """
    import difflib  # noqa: PLC0415 - only needed once something is already wrong

    bare = {name.lstrip("-"): name for name in known}
    typed = word.lstrip("-")
    longer = sorted((name for name in bare if typed and name.startswith(typed)), key=len)
    close = longer or difflib.get_close_matches(typed, bare, n=1, cutoff=0.6)
    return bare[close[0]] if close else None
