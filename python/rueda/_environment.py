"""The process environment: the only Python file that touches ``os.environ``."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager


def environment() -> dict[str, str]:
    """Return a copy of the process's environment; later changes on either side stay there."""
    return dict(os.environ)


@contextmanager
def changed_environment(settings: Mapping[str, str]) -> Iterator[None]:
    """Set variables inside the block; afterwards each is what it was before."""
    before = {name: os.environ.get(name) for name in settings}
    os.environ.update(settings)
    try:
        yield
    finally:
        for name, text in before.items():
            if text is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = text
