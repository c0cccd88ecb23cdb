"""Names of what the backward passes of named operations communicate."""

from __future__ import annotations


def gradient_name(name: str | None) -> str | None:
    """Return the name under which the backward pass of a named operation communicates."""
    return None if name is None else f"{name}.gradient"
