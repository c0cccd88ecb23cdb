"""The version of the installed package, from its metadata; ``pyproject.toml`` is its one source."""

from importlib.metadata import version

__version__ = version("rueda")
