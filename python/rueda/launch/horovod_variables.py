"""What HOROVOD_ variables of the user mean for rueda: a table, and one line that says so."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass

from rueda.launch.engine_settings import PREFIX, Engine
from rueda.launch.usage import UsageError

_THEIRS = "HOROVOD_"


@dataclass(frozen=True)
class Meaning:
    """The engine's variable for one of Horovod's, without prefix, and how the value is read."""

    variable: str
    read: Callable[[str], str | None] = str


def _at_least_one(text: str) -> str:
    return "1" if text.strip() == "0" else text


def _switch(text: str) -> str:
    return "0" if text.strip() in ("", "0") else "1"


def _file(text: str) -> str | None:
    # DYNAMIC allows start_timeline later, which rueda always does.
    return None if text == "DYNAMIC" else text


def _off(text: str) -> str | None:
    return "0" if _switch(text) == "1" else None


MEANINGS: dict[str, Meaning] = {
    "FUSION_THRESHOLD": Meaning("FUSION_THRESHOLD", _at_least_one),
    "CACHE_CAPACITY": Meaning("CACHE_CAPACITY"),
    "GLOO_TIMEOUT_SECONDS": Meaning("TIMEOUT_SECONDS"),
    "START_TIMEOUT": Meaning("START_TIMEOUT_SECONDS"),
    "STALL_CHECK_DISABLE": Meaning("STALL_CHECK_TIME_SECONDS", _off),
    "STALL_CHECK_TIME_SECONDS": Meaning("STALL_CHECK_TIME_SECONDS"),
    "STALL_SHUTDOWN_TIME_SECONDS": Meaning("STALL_SHUTDOWN_TIME_SECONDS"),
    "LOG_LEVEL": Meaning("LOG_LEVEL", str.lower),
    "TIMELINE": Meaning("TIMELINE", _file),
    "TIMELINE_MARK_CYCLES": Meaning("TIMELINE_MARK_CYCLES", _switch),
    "AUTOTUNE": Meaning("AUTOTUNE", _switch),
    "AUTOTUNE_LOG": Meaning("AUTOTUNE_LOG"),
    "AUTOTUNE_WARMUP_SAMPLES": Meaning("AUTOTUNE_WARMUP_SAMPLES"),
    "AUTOTUNE_STEPS_PER_SAMPLE": Meaning("AUTOTUNE_STEPS_PER_SAMPLE"),
    "AUTOTUNE_BAYES_OPT_MAX_SAMPLES": Meaning("AUTOTUNE_BAYES_OPT_MAX_SAMPLES"),
    "AUTOTUNE_GAUSSIAN_PROCESS_NOISE": Meaning("AUTOTUNE_GAUSSIAN_PROCESS_NOISE"),
    "DYNAMIC_PROCESS_SETS": Meaning("DYNAMIC_PROCESS_SETS", _switch),
}

# By these a launcher of Horovod gave us a place; they go, with those of other launchers.
_PLACE = frozenset(
    (
        *("HOSTNAME", "RANK", "SIZE", "LOCAL_RANK", "LOCAL_SIZE", "CROSS_RANK", "CROSS_SIZE"),
        *("GLOO_RENDEZVOUS_ADDR", "GLOO_RENDEZVOUS_PORT"),
    )
)


@dataclass(frozen=True)
class Translation:
    """The engine's variables that Horovod's stand for, and what is to be said about it."""

    settings: dict[str, str]
    remark: str


def translate(
    environ: Mapping[str, str], decided: Collection[str], load: Callable[[], Engine]
) -> Translation:
    """Read the HOROVOD_ variables of a user.

    What is set under rueda's own name stays. A disabled stall check is disabled whatever its time
    is.

    Args:
        environ: The user's environment.
        decided: The engine's variables that options have set.
        load: Loads what the engine says of its variables.

    Raises:
        UsageError: The engine does not accept a value.
    """
    theirs = {
        name: environ[f"{_THEIRS}{name}"]
        for name in _in_order(environ)
        if name not in _PLACE and environ[f"{_THEIRS}{name}"]
    }
    settings: dict[str, str] = {}
    taken, idle = [], []
    for name, text in theirs.items():
        meaning = MEANINGS.get(name)
        variable = "" if meaning is None else f"{PREFIX}{meaning.variable}"
        value = None if meaning is None else meaning.read(text)
        if value is None or variable not in load().ranges:
            idle.append(f"{_THEIRS}{name}")
        elif variable in environ or variable in decided:
            idle.append(f"{_THEIRS}{name} ({variable} is set)")
        else:
            _check(f"{_THEIRS}{name}", text, variable, value, load())
            settings[variable] = value
            taken.append(f"{_THEIRS}{name} as {variable}={value}")
    _disable_shutdown(theirs, environ, decided, settings)
    return Translation(settings, _remark(taken, idle))


def _disable_shutdown(
    theirs: Mapping[str, str],
    environ: Mapping[str, str],
    decided: Collection[str],
    settings: dict[str, str],
) -> None:
    """Without its stall check Horovod gives nothing up either, whatever the limit is."""
    shutdown = f"{PREFIX}STALL_SHUTDOWN_TIME_SECONDS"
    is_disabled = _switch(theirs.get("STALL_CHECK_DISABLE", "0")) == "1"
    if is_disabled and shutdown not in environ and shutdown not in decided:
        settings[shutdown] = "0"


def _in_order(environ: Mapping[str, str]) -> list[str]:
    names = [name[len(_THEIRS) :] for name in sorted(environ) if name.startswith(_THEIRS)]
    return sorted(names, key=lambda name: name == "STALL_CHECK_DISABLE")


def _check(name: str, text: str, variable: str, value: str, engine: Engine) -> None:
    try:
        engine.check({variable: value})
    except ValueError:
        raise UsageError(
            f"{name}={text!r} is not accepted; {variable} takes {engine.ranges[variable]}"
        ) from None


def _remark(taken: list[str], idle: list[str]) -> str:
    parts = [f"takes {', '.join(taken)}"] if taken else []
    parts += [f"without effect: {', '.join(idle)}"] if idle else []
    return f"--as-horovod {'; '.join(parts)}" if parts else ""
