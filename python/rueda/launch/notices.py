"""What a running worker tells the launcher: that ranks are waited for, and that it goes on.

The engine writes one JSON object a line into the report pipe (csrc/engine/launcher_notices.cc), as
often as it has something to say; a crash report may follow. All of it comes from the user's
process, so it is read strictly and within limits.
"""

from __future__ import annotations

import json
from dataclasses import dataclass

from rueda.launch.summary import printable

_BEGINS = b'{"notice": '
_MOST_LINE_BYTES = 4096
_MOST_HEADLINE = 512


@dataclass(frozen=True)
class Notice:
    """One thing that a rank has said.

    Attributes:
        headline: All of it in one line.
        text: All of it; begins with the headline.
    """

    headline: str
    text: str

    def words(self, rank: int, *, is_shown: bool) -> str:
        """Return what the launcher says.

        Args:
            rank: Who has said it.
            is_shown: Whether that rank's standard error is shown, where it has said it in full.
        """
        return f"ruedarun: rank {rank}: {self.headline if is_shown else self.text}"


def take_notices(data: bytes, rank: int) -> tuple[list[Notice], bytes]:
    """Read the notices at the start of what came through the report pipe.

    Args:
        data: What came and was not taken before.
        rank: The worker's rank; what another one says there is dropped.

    Returns:
        The notices, and the bytes that are to be kept: a crash report, or the start of a notice.
    """
    notices: list[Notice] = []
    while data.startswith(_BEGINS):
        line, newline, rest = data.partition(b"\n")
        if not newline:
            # One that does not end in time is none; it must not hide a crash report for ever.
            return notices, data if len(data) < _MOST_LINE_BYTES else b""
        notice = _read(line, rank)
        if notice is not None:
            notices.append(notice)
        data = rest
    return notices, data


def _read(line: bytes, rank: int) -> Notice | None:
    try:
        value = json.loads(line[:_MOST_LINE_BYTES])
    except (ValueError, RecursionError):
        return None
    if value.get("notice") != "stall" or value.get("rank") != rank:
        return None
    headline, text = value.get("headline"), value.get("text")
    if not isinstance(headline, str) or not isinstance(text, str):
        return None
    return Notice(printable(headline).partition("\n")[0][:_MOST_HEADLINE], printable(text))
