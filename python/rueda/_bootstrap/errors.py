"""The errors of a meeting, all made here so that each shows its code (docs/errors.md)."""

from __future__ import annotations

from rueda.exceptions import RuedaError

DISAGREE = "R201"  # the ranks differ in what must be equal
ENDED = "R301"  # a rank died or hung up
TIMED_OUT = "R302"  # a rank did not come, or not far enough, in time
SYSTEM = "R401"  # the operating system refused something
SENSELESS = "R402"  # a proven rank sent what cannot be understood
UNTRUSTED = "R403"  # the handshake failed: another version, job or secret


def meeting_error(text: str, code: str, rank: int | None = None) -> RuedaError:
    """Return the error that blames ``rank`` (None: no single one)."""
    return RuedaError(f"[{code}] {text}", code, rank)
