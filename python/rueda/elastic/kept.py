"""Kept: what can be saved, brought back and given to all ranks."""

from __future__ import annotations

from abc import ABC, abstractmethod


class Kept(ABC):
    """Abstract, so that one which cannot be restored is refused at once, not after a failure."""

    @abstractmethod
    def save(self) -> None:
        """Copy what ``restore`` goes back to."""

    @abstractmethod
    def restore(self) -> None:
        """Go back to what was saved last."""

    @abstractmethod
    def sync(self) -> None:
        """Give all ranks what rank 0 has; all ranks call it."""

    def reset(self) -> None:  # noqa: B027 - most need not
        """Adapt to the ranks there are now; called after each reset, before ``sync``."""
