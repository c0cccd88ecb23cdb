"""What a rank does with a program: makes its calls and compares the results with the model."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import program_model as model
import torch

import rueda as hvd

_SCOPED = ("HorovodInternalError", "ValueError")


def run_program(program: dict[str, Any]) -> dict[str, Any]:
    """Run a program on this rank.

    Returns:
        ``problems``: what was not as the model says; ``lasts``: what each join returned.
    """
    sets = [hvd.global_process_set]
    sets += [hvd.add_process_set(ranks) for ranks in program["sets"]]
    runner = _Runner(program, sets)
    for number, one in enumerate(program["rounds"]):
        runner.run_round(number, one)
    for one in reversed(sets[1:]):
        hvd.remove_process_set(one)
    return {"problems": runner.problems, "lasts": runner.lasts}


class _Runner:
    def __init__(self, program: dict[str, Any], sets: list[hvd.ProcessSet]) -> None:
        self.program, self.sets, self.own = program, sets, hvd.rank()
        self.problems: list[str] = []
        self.lasts: list[tuple[int, int]] = []

    def run_round(self, number: int, one: dict[str, Any]) -> None:
        calls = [self._prepared(call) for call in one["calls"]]
        if one["mode"] == "sync":
            for place, call in enumerate(calls):
                if self.own in self._callers(call):
                    wait = self._started((number, place), call)
                    self._check((number, place), call, wait, self._callers(call))
            return
        is_join = one["mode"] == "join"
        if is_join and not self.sets[one["joined"]].included():
            return
        made = one["counts"] if is_join else [len(calls)] * self.program["size"]
        places = [
            place for place in range(made[self.own]) if self.own in self._callers(calls[place])
        ]
        waits = {}
        for place in self._shuffled(places, calls, one["orders"][self.own]):
            waits[place] = self._started((number, place), calls[place])
        present = {
            place: [rank for rank in self._callers(calls[place]) if made[rank] > place]
            for place in places
        }
        if is_join and not one["waits_first"][self.own]:
            self._join(number, one["joined"])
        random.Random(one["orders"][self.own] + 1).shuffle(places)
        for place in places:
            self._check((number, place), calls[place], waits[place], present[place])
        if is_join and one["waits_first"][self.own]:
            self._join(number, one["joined"])

    def _join(self, number: int, joined: int) -> None:
        last = hvd.join(process_set=self.sets[joined])
        self.lasts.append((number, last))
        if last not in (self.sets[joined].ranks or []):
            self.problems.append(f"round {number}: join returned {last}")

    def _prepared(self, call: dict[str, Any]) -> dict[str, Any]:
        ranks = self.sets[call["set"]].ranks or []
        return {**call, "ranks": ranks, "members": len(ranks)}

    def _callers(self, call: dict[str, Any]) -> list[int]:
        return sorted(call["ways"]) if call["kind"] == "send" else call["ranks"]

    @staticmethod
    def _shuffled(places: list[int], calls: list[dict[str, Any]], seed: int) -> list[int]:
        """Any order, but unnamed calls of one kind and set stay in theirs."""
        order = list(places)
        random.Random(seed).shuffle(order)
        families: dict[Any, list[int]] = {}
        for place in order:
            if not calls[place]["named"]:
                families.setdefault(_family(calls[place]), []).append(place)
        for family in families.values():
            family.sort()
        return [
            place if calls[place]["named"] else families[_family(calls[place])].pop(0)
            for place in order
        ]

    def _started(self, where: tuple[int, int], call: dict[str, Any]) -> Callable[[], Any]:
        """Start a call and return what waits for it."""
        if call["kind"] == "barrier":
            return lambda: hvd.barrier(self.sets[call["set"]])
        sent = [
            _laid_out(one, call["layout"], in_place=call["kind"].endswith("_"))
            for one in model.contribution(self.program, where, call, self.own)
        ]
        if call["wrong"] == self.own:
            sent = [_of_another_type(one) for one in sent]
        name = f"round {where[0]} call {where[1]}" if call["named"] else None
        handle = _start(call, sent, name, self.sets[call["set"]], self.own)
        before = [one.clone() for one in sent]

        def wait() -> Any:
            hvd.poll(handle)
            found = hvd.synchronize(handle)
            if not call["kind"].endswith("_"):
                self._check_untouched(where, sent, before)
            return found

        return wait

    def _check_untouched(
        self, where: tuple[int, int], sent: list[torch.Tensor], before: list[torch.Tensor]
    ) -> None:
        if not all(_same(one, other) for one, other in zip(sent, before, strict=True)):
            self.problems.append(f"{where}: the input was changed")

    def _check(
        self,
        where: tuple[int, int],
        call: dict[str, Any],
        wait: Callable[[], Any],
        present: list[int],
    ) -> None:
        try:
            found = wait()
        except (hvd.HorovodInternalError, ValueError) as error:
            found = f"{type(error).__name__}: {error}"
        expected = self._expected(where, call, present)
        if isinstance(expected, str) or isinstance(found, str):
            if not (isinstance(found, str) and found.startswith(str(expected))):
                self.problems.append(f"{where}: expected {expected}, found {found}")
            return
        if call["kind"] == "barrier":
            return
        listed = list(found) if isinstance(found, (list, tuple)) else [found]
        if len(listed) != len(expected):
            self.problems.append(f"{where}: {len(listed)} tensors, expected {len(expected)}")
            return
        for one, wanted in zip(listed, expected, strict=True):
            if not _same(one, wanted):
                self.problems.append(f"{where}: found {one}, expected {wanted}")

    def _expected(
        self, where: tuple[int, int], call: dict[str, Any], present: list[int]
    ) -> model.Outcome:
        if call["kind"] == "barrier":
            return []
        if call["kind"] == "send":
            source, dest = call["ways"]
            (sent,) = model.contribution(self.program, where, call, source)
            return [sent if self.own == dest else sent.new_empty(0)]
        return model.outcome(self.program, where, call, self.own, present)


def _family(call: dict[str, Any]) -> Any:
    """What unnamed calls count by; a call may share its operation with its grouped form."""
    if call["kind"] == "send":
        return ("send", *call["ways"])
    return (call["kind"].rstrip("_").removeprefix("grouped_"), call["set"])


def _start(
    call: dict[str, Any],
    sent: list[torch.Tensor],
    name: str | None,
    process_set: hvd.ProcessSet,
    own: int,
) -> int:
    kind = call["kind"]
    arguments: dict[str, Any] = {"name": name}
    if kind == "send":
        source, dest = call["ways"]
        if own == source:
            return hvd.send_async(sent[0], dest, **arguments)
        return hvd.recv_async(sent[0], source, **arguments)
    arguments["process_set"] = process_set
    if "op" in call:
        arguments["op"] = getattr(hvd, call["op"])
        arguments["prescale_factor"], arguments["postscale_factor"] = call["factors"]
    if kind.startswith(("broadcast", "reduce_")) or kind in ("reduce", "gather", "scatter"):
        arguments["root_rank"] = call["root"]
    if kind == "alltoall" and call["splits"] is not None:
        arguments["splits"] = torch.tensor(model.splits_of(call, own), dtype=torch.int32)
    if kind == "scatter" and own == call["root"]:
        arguments["splits"] = call["splits"] and model.splits_of(call, own)
    start = getattr(hvd, f"{kind[:-1]}_async_" if kind.endswith("_") else f"{kind}_async")
    handle: int = start(sent if "grouped" in kind else sent[0], **arguments)
    return handle


def _laid_out(tensor: torch.Tensor, layout: str, *, in_place: bool) -> torch.Tensor:
    """Return the same values in another layout."""
    if tensor.dim() == 0 or tensor.numel() == 0 or layout == "plain":
        return tensor
    if layout == "transposed":
        return tensor.transpose(0, -1).contiguous().transpose(0, -1)
    if layout == "expanded" and not in_place:
        # Only where all rows are one row, so that the values stay.
        first = tensor[:1]
        return first.expand_as(tensor) if _same(first.expand_as(tensor), tensor) else tensor
    wide = tensor.new_zeros((2 * tensor.shape[0], *tensor.shape[1:]))
    wide[::2] = tensor
    return wide[::2]


def _of_another_type(tensor: torch.Tensor) -> torch.Tensor:
    return torch.ones(
        tensor.shape, dtype=torch.int32 if tensor.dtype == torch.float32 else torch.float32
    )


def _same(one: torch.Tensor, other: torch.Tensor) -> bool:
    if one.dtype != other.dtype or one.shape != other.shape:
        return False
    if one.dtype.is_floating_point and one.itemsize == 1:
        one, other = one.float(), other.float()
    return torch.equal(one, other)
