"""What stands behind an option: sizes, whole numbers, and names out of a known few. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from rueda.launch.usage import UsageError, nearest

_UNITS = {"": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30}
_LARGEST = 16 << 30


def size_of(name: str, text: str) -> int:
    """Read a size such as ``8``, ``4K``, ``64MiB``; units are binary, as in nccl-tests.

    Raises:
        UsageError: It is none, or out of range.
    """
    word = text.strip().lower().removesuffix("b").removesuffix("i")
    unit = word[-1:] if word[-1:] in ("k", "m", "g") else ""
    digits = word.removesuffix(unit) if unit else word
    if not (digits.isascii() and digits.isdigit()) or len(digits) > 12:
        raise UsageError(f"{name} needs sizes such as 8, 4K or 64M, found {text!r}")
    size = int(digits) * _UNITS[unit]
    if not 1 <= size <= _LARGEST:
        raise UsageError(f"{name} {text}: a size is from 1 byte to 16G")
    return size


def whole(name: str, text: str, most: int) -> int:
    """Read a whole number from 1 on.

    Raises:
        UsageError: It is none, or out of range.
    """
    number = int(text) if text.isascii() and text.isdigit() and len(text) < 10 else 0
    if not 1 <= number <= most:
        raise UsageError(f"{name} needs a whole number from 1 to {most}, found {text!r}")
    return number


def one_of(name: str, text: str | None, known: Iterable[str], default: str) -> str:
    """Read a name.

    Raises:
        UsageError: It is not known; the text has the nearest one.
    """
    return _known(name, text, list(known)) if text is not None else default


def several_of(
    name: str, text: str | None, known: Iterable[str], default: tuple[str, ...]
) -> tuple[str, ...]:
    """Read a list of names, in the order in which they are known.

    Raises:
        UsageError: One is not known; the text has the nearest one.
    """
    if text is None:
        return default
    all_known = list(known)
    chosen = {_known(name, word, all_known) for word in text.split(",")}
    return tuple(word for word in all_known if word in chosen)


def _known(name: str, word: str, known: Sequence[str]) -> str:
    if word in known:
        return word
    guess = nearest(word, known)
    hint = f"; did you mean {guess}?" if guess else ""
    raise UsageError(f"{name} takes {', '.join(known)}; found {word!r}{hint}")
