"""What one option of ruedarun is: its names, its value, and what becomes of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

# Checks a value under the name that the user gave, and returns it as the engine reads it.
Reader = Callable[[str, str], str]

YES, NO = "yes", "no"


def any_text(name: str, text: str) -> str:
    """Take a value as it is."""
    return text


@dataclass(frozen=True)
class Option:
    """One option under all its names.

    Attributes:
        field: What the option sets; options that set the same thing share it.
        names: Every spelling; the first is the one that messages use.
        value: What stands for the value in the help text, empty for a switch. Each word of it is
            a word of the command line.
        help: One or two sentences for the help text.
        negative: Spellings that switch it off, for a switch that has them.
        read: Checks the value and returns it as the engine's variable takes it.
        variable: The engine's variable that it sets, without the prefix; empty if it sets none.
        key: Its place in a configuration file, such as ``timeline.filename``; empty for none.
        no_effect: Why it is taken but changes nothing here; empty if it does.
        refused: Why this version refuses it, and what to do instead; empty if it does not.
    """

    field: str
    names: tuple[str, ...]
    value: str
    help: str
    negative: tuple[str, ...] = ()
    read: Reader = any_text
    variable: str = ""
    key: str = ""
    no_effect: str = ""
    refused: str = ""

    @property
    def words(self) -> int:
        """How many words of a command line are its value."""
        return len(self.value.split())


@dataclass(frozen=True)
class Group:
    """Options that the help text shows together."""

    title: str
    options: tuple[Option, ...]


@dataclass(frozen=True)
class Given:
    """An option as the user gave it.

    Attributes:
        name: The spelling, or the key of a configuration file.
        text: The value; ``YES`` or ``NO`` for a switch.
        file: The configuration file, or empty for the command line.
    """

    name: str
    text: str
    file: str = ""

    @property
    def where(self) -> str:
        """The name as messages give it."""
        return f"{self.name} in {self.file}" if self.file else self.name

    def __str__(self) -> str:
        """Say it as it was given."""
        colon = ":" if self.file else ""
        if self.text in (YES, NO):
            return f"{self.name}: {self.text} in {self.file}" if self.file else self.name
        return f"{self.name}{colon} {self.text}" + (f" in {self.file}" if self.file else "")
