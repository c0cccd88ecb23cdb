"""State and ObjectState: what a training loop keeps over failures; objects without PyTorch."""

from __future__ import annotations

import copy
from collections import deque
from collections.abc import Callable, Iterable
from typing import Any

from rueda.elastic.kept import Kept
from rueda.elastic.notifications import HostUpdateResult
from rueda.exceptions import HostsUpdatedInterrupt


class State(Kept):
    """What ``run`` saves, restores and sends; a user's own derives from it.

    It has to define ``save``, ``restore`` and ``sync``, and may define ``reset``.

    It belongs to the thread that trains; ``on_hosts_updated`` alone may be called by any.
    """

    # How often this rank has committed: whether anything was gained between two failures.
    _commits = 0

    def __init__(self, bcast_object: Callable[[Any], Any], get_rank: Callable[[], int]) -> None:
        """Begin with nothing committed.

        Args:
            bcast_object: Returns rank 0's object on all ranks: ``rueda.broadcast_object``.
            get_rank: Returns this process's rank: ``rueda.rank``.
        """
        self._bcast_object = bcast_object
        self._rank = get_rank
        self._news: deque[tuple[float, int]] = deque()
        self._last_news = 0.0
        self._reset_callbacks: list[Callable[[], object]] = []

    def register_reset_callbacks(self, callbacks: Iterable[Callable[[], object]]) -> None:
        """Have these functions called after each reset, before the state is sent again."""
        self._reset_callbacks.extend(callbacks)

    def on_reset(self) -> None:
        """Forget news of hosts, which are old now, reset, and call the callbacks."""
        self._news.clear()
        self.reset()
        for callback in self._reset_callbacks:
            callback()

    def on_hosts_updated(self, timestamp: float, update_res: int) -> None:
        """Remember that hosts came or went, for the next ``check_host_updates``; any thread.

        Args:
            timestamp: When; it counts only if it is later than the last one.
            update_res: A ``HostUpdateResult``.
        """
        self._news.append((timestamp, update_res))

    def commit(self) -> None:
        """Save, and check for news of hosts; all ranks call it, after the same step.

        It costs a copy of the state, so it may be done less often than each step: after a failure
        training goes on from here.

        Raises:
            HostsUpdatedInterrupt: As ``check_host_updates``; what was saved is saved.
            HorovodInternalError: The job failed; what was saved is saved.
        """
        self.save()
        self._commits += 1
        self.check_host_updates()

    def check_host_updates(self) -> None:
        """Raise on all ranks if rank 0 has heard that hosts came or went; all ranks call it.

        Raises:
            HostsUpdatedInterrupt: They have; ``run`` begins anew with what there is.
            HorovodInternalError: The job failed.
        """
        before = latest = self._last_news
        result = HostUpdateResult.no_update
        while self._news:
            timestamp, update = self._news.popleft()
            if timestamp > latest:
                latest = timestamp
                result |= HostUpdateResult(update)
        # Only rank 0 is told by a driver: what it knows makes all ranks decide alike.
        before, self._last_news, result = self._bcast_object((before, latest, result))
        if self._last_news > before:
            raise HostsUpdatedInterrupt(result == HostUpdateResult.removed)


def refuse_methods(kind: type[State], names: Iterable[str]) -> None:
    """Raise ValueError if one of the names is that of a method of the state."""
    taken = next((name for name in names if hasattr(kind, name)), None)
    if taken is not None:
        raise ValueError(
            f"{kind.__name__}({taken}=...): the state has a method of that name; choose another one"
        )


class ObjectState(State):
    """Keeps plain Python objects, as attributes.

    Saving copies them deeply, so that a list that grows after a commit is short again after a
    restore.
    """

    def __init__(
        self, bcast_object: Callable[[Any], Any], get_rank: Callable[[], int], **kwargs: Any
    ) -> None:
        """Take the objects; they count as saved.

        Args:
            bcast_object: As for ``State``.
            get_rank: As for ``State``.
            **kwargs: The attributes, which can be pickled and copied deeply.

        Raises:
            ValueError: A name is that of one of the state's methods.
        """
        refuse_methods(type(self), kwargs)
        super().__init__(bcast_object, get_rank)
        self._names = list(kwargs)
        for name, value in kwargs.items():
            setattr(self, name, value)
        self._saved = self._copied()

    def save(self) -> None:
        """Copy the attributes."""
        self._saved = self._copied()

    def restore(self) -> None:
        """Put copies of what was saved in the attributes' places."""
        for name, value in copy.deepcopy(self._saved).items():
            setattr(self, name, value)

    def sync(self) -> None:
        """Give all ranks the attributes that rank 0 has now, and save them."""
        if self._names:
            own = {name: getattr(self, name) for name in self._names}
            for name, value in self._bcast_object(own).items():
                setattr(self, name, value)
        self._saved = self._copied()

    def _copied(self) -> dict[str, Any]:
        """Copy all at once, so that what two attributes share they share afterwards."""
        return copy.deepcopy({name: getattr(self, name) for name in self._names})
