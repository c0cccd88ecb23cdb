"""Reads traces, and knows what holds for every one of them."""

from __future__ import annotations

import json
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_PHASES = ("negotiation", "queue", "run")
# Nobody can be through with these before everybody has begun. A broadcast's root can.
_ALL_TOGETHER = ("allreduce", "barrier")


@dataclass(frozen=True)
class Span:
    """An event with a duration. Times are nanoseconds."""

    rank: int
    row: int
    category: str
    name: str
    begun: int
    done: int
    args: dict[str, Any]


class Trace:
    """A trace as it lies in a file.

    Attributes:
        spans: All spans, in the order of the file.
        marks: All instants: rank, and arguments.
        metadata: What the file says of each rank, by rank.
        rows: The names of rows, by rank and number.
    """

    def __init__(self, path: Path | str) -> None:
        whole = json.loads(Path(path).read_text(encoding="utf-8"))
        about = whole.pop()
        assert about["name"] == "rueda"
        self.metadata = {int(rank): told for rank, told in about["args"]["ranks"].items()}
        self.spans: list[Span] = []
        self.marks: list[tuple[int, dict[str, Any]]] = []
        self.rows: dict[tuple[int, int], str] = {}
        self.ranks: dict[int, str] = {}
        for event in whole:
            self._take(event)

    def _take(self, event: dict[str, Any]) -> None:
        rank, row = event["pid"] - 1, event["tid"]
        if event["ph"] == "X":
            begun, length = round(event["ts"] * 1000), round(event["dur"] * 1000)
            args = event.get("args", {})
            self.spans.append(
                Span(rank, row, event["cat"], event["name"], begun, begun + length, args)
            )
        elif event["ph"] == "i":
            self.marks.append((rank, event["args"]))
        elif event["name"] == "process_name":
            self.ranks[rank] = event["args"]["name"]
        elif event["name"] == "thread_name":
            self.rows[rank, row] = event["args"]["name"]
        else:
            assert event["name"] in ("process_sort_index", "thread_sort_index"), event

    def of(self, category: str, rank: int | None = None) -> list[Span]:
        """Return the spans of a kind, of one rank or of all."""
        return [
            span for span in self.spans if span.category == category and rank in (None, span.rank)
        ]

    def problems(self, size: int) -> list[str]:
        """Return what does not hold and should, whatever the ranks did."""
        found = []
        if sorted(self.ranks) != list(range(size)):
            found.append(f"the ranks are {self.ranks}")
        found += [f"no name for {s.row} of {s.rank}" for s in self.spans if not self._named(s)]
        found += [f"a span of negative length: {s}" for s in self.spans if s.done < s.begun]
        found += [f"before the beginning: {s}" for s in self.spans if s.begun < 0]
        return found + self._unnested() + self._disordered() + self._unaligned() + self._loose()

    def _named(self, span: Span) -> bool:
        return (span.rank, span.row) in self.rows

    def _unnested(self) -> list[str]:
        """Spans of a row that overlap without one holding the other."""
        found = []
        rows: dict[tuple[int, int], list[Span]] = defaultdict(list)
        for span in self.spans:
            rows[span.rank, span.row].append(span)
        for spans in rows.values():
            open_ones: list[Span] = []
            for span in sorted(spans, key=lambda s: (s.begun, -s.done)):
                while open_ones and open_ones[-1].done <= span.begun:
                    open_ones.pop()
                if open_ones and span.done > open_ones[-1].done:
                    found.append(f"{span} and {open_ones[-1]} overlap")
                open_ones.append(span)
        return found

    def requests(self) -> list[tuple[Span, dict[str, Span]]]:
        """Return each request with its phases; the file has them right behind it."""
        found: list[tuple[Span, dict[str, Span]]] = []
        for span in self.spans:
            if span.category == "request":
                found.append((span, {}))
            elif span.category in _PHASES:
                assert (found[-1][0].rank, found[-1][0].row) == (span.rank, span.row)
                assert span.category not in found[-1][1]
                found[-1][1][span.category] = span
        return found

    def _disordered(self) -> list[str]:
        """Requests whose phases do not follow one another from begin to end."""
        found = []
        for request, phases in self.requests():
            at = request.begun
            for phase in phases.values():
                if phase.begun != at:
                    found.append(f"{phase} of {request} does not begin at {at}")
                at = phase.done
            if phases and at != request.done:
                found.append(f"{request} ends at {request.done}, its phases at {at}")
            half_seen = "began_before_recording" in request.args
            if not half_seen and ("negotiation" not in phases or list(phases) != sorted(phases)):
                found.append(f"{request} lacks phases: {list(phases)}")
        return found

    def _unaligned(self) -> list[str]:
        """Collectives that one rank ended before another began."""
        found = []
        buckets: dict[tuple[int, int], list[Span]] = defaultdict(list)
        for span in self.of("collective"):
            if span.args["op"] in _ALL_TOGETHER and "error" not in span.args:
                buckets[span.args["process_set"], span.args["bucket"]].append(span)
        for key, spans in buckets.items():
            if len({span.rank for span in spans}) != len(spans):
                found.append(f"bucket {key} more than once on a rank")
            if any(s.args.get("absent") for s in spans) or not spans[0].args["bytes"]:
                continue
            last = max(spans, key=lambda s: s.begun)
            first = min(spans, key=lambda s: s.done)
            if first.done < last.begun:
                found.append(f"{first} ends before {last} begins")
        return found

    def _loose(self) -> list[str]:
        """Copies outside of any collective of their rank, but for one that never ended."""
        found = []
        collectives: dict[int, list[Span]] = defaultdict(list)
        for span in self.of("collective"):
            collectives[span.rank].append(span)
        for copy in self.of("copy"):
            if copy.begun >= max((one.done for one in collectives[copy.rank]), default=0):
                continue
            if not any(
                one.begun <= copy.begun and copy.done <= one.done for one in collectives[copy.rank]
            ):
                found.append(f"{copy} is in no collective")
        return found
