"""The process environment: the only Python file that reads ``os.environ``."""

from __future__ import annotations

import os


def environment() -> dict[str, str]:
    """Return a copy of the process's environment; later changes on either side stay there."""
    return dict(os.environ)
