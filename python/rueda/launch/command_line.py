"""Takes an argument vector apart: options of ruedarun, then the program's own words.

The first word that is no option is the program, and everything after it is the program's own:
it is passed on untouched, whatever it looks like.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from rueda.launch.option import NO, YES, Given, Option
from rueda.launch.option_table import BY_NAME, CONTRADICTIONS, TORCHRUN_ALONE
from rueda.launch.usage import UsageError, nearest


@dataclass(frozen=True)
class Words:
    """An argument vector taken apart: what was given by field, then the program's words."""

    given: dict[str, Given]
    program: tuple[str, ...]


def split_words(argv: Sequence[str]) -> Words:
    """Take an argument vector apart.

    Raises:
        UsageError: An option is unknown, lacks its value, or is given twice with two values.
    """
    given: dict[str, Given] = {}
    at = 0
    while at < len(argv):
        word = argv[at]
        at += 1
        if word == "--":
            break
        if not word.startswith("-") or word == "-":
            at -= 1
            break
        name, value = _name_and_value(word)
        option = _known(name)
        if option.value and value is None:
            value = " ".join(_next_value(name, argv, at + more) for more in range(option.words))
            at += option.words
        _put(given, option, name, value)
    return Words(given, tuple(argv[at:]))


def _name_and_value(word: str) -> tuple[str, str | None]:
    """Split ``--name=value`` and ``-n4``; underscores in long names are taken for dashes."""
    name, equals, value = word.partition("=")
    if name.startswith("--"):
        name = name.replace("_", "-")
    if equals:
        return name, value
    letters = name.rstrip("0123456789:,")
    if letters != name and letters in BY_NAME and not letters.startswith("--"):
        return letters, name[len(letters) :]
    return name, None


def _known(name: str) -> Option:
    if name in BY_NAME:
        return BY_NAME[name]
    if name in TORCHRUN_ALONE:
        raise UsageError(f"{name} is an option of torchrun that ruedarun does not take")
    guess = nearest(name, BY_NAME)
    hint = f"did you mean {guess}?" if guess else "ruedarun --help lists the options"
    raise UsageError(f"unknown option {name}; {hint}")


def _next_value(name: str, argv: Sequence[str], at: int) -> str:
    if at >= len(argv):
        raise UsageError(f"{name} needs {_in_words(BY_NAME[name])}")
    if argv[at] == "--" or argv[at] in BY_NAME:
        raise UsageError(f"{name} needs {_in_words(BY_NAME[name])}, but {argv[at]} follows")
    return argv[at]


def _in_words(option: Option) -> str:
    return "a value" if option.words == 1 else f"{option.words} values, {option.value}"


def _put(given: dict[str, Given], option: Option, name: str, value: str | None) -> None:
    if option.value:
        new = Given(name, value or "")
        if len(new.text.split(" ")) < option.words:
            raise UsageError(f"{name} needs {_in_words(option)}, found {value!r}")
    elif value is not None:
        raise UsageError(f"{name} is a switch and takes no value, found {value!r}")
    else:
        new = Given(name, NO if name in option.negative else YES)
    old = given.setdefault(option.field, new)
    if old.text != new.text:
        if not option.value:
            raise UsageError(f"{old.name} and {name} contradict each other; give one of them")
        raise UsageError(f"{name} is given twice, with {old.text!r} and {new.text!r}")


def contradiction(given: Mapping[str, Given]) -> tuple[Given, Given, str] | None:
    """Return two options that cannot both hold, and why; None if there are none."""
    for one, other, why in CONTRADICTIONS:
        first, second = given.get(one[0]), given.get(other[0])
        if first is None or second is None:
            continue
        if one[1] in (None, first.text) and other[1] in (None, second.text):
            return first, second, why
    return None


def refuse_contradictions(given: Mapping[str, Given]) -> None:
    """Refuse options that cannot both hold.

    Raises:
        UsageError: It names both.
    """
    found = contradiction(given)
    if found is not None:
        raise UsageError(f"{found[0]} and {found[1]} contradict each other: {found[2]}")
