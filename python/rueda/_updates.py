"""Updates: what steps of optimizers have left to the next forward pass, in one job."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rueda._deferred_update import DeferredUpdate


class Updates:
    """Keeps them until they are made; also those of optimizers that are gone.

    Peers count on what was submitted, so a rank must not leave before that was reduced.
    """

    def __init__(self) -> None:
        self._open: set[DeferredUpdate] = set()

    def add(self, update: DeferredUpdate) -> None:
        """Keep one."""
        self._open.add(update)

    def discard(self, update: DeferredUpdate) -> None:
        """Keep one no longer."""
        self._open.discard(update)

    def finish(self) -> None:
        """Make all of them.

        Raises:
            HorovodInternalError: A reduction failed.
        """
        for update in list(self._open):
            update.finish()

    def finish_orphans(self) -> None:
        """Make those that no forward pass will ask for, because their models are gone."""
        for update in list(self._open):
            if update.is_orphan():
                update.finish()
