"""The options that become variables of the engine, checked before anything is started."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from rueda.launch.option import NO, YES, Given, Option
from rueda.launch.option_table import NO_EFFECT, TABLE
from rueda.launch.usage import UsageError

PREFIX = "RUEDA_"
# Setting -> value; None takes it out of the environment.
Settings = dict[str, "str | None"]


@dataclass(frozen=True)
class Engine:
    """What the compiled engine says about its variables.

    Attributes:
        ranges: What each one accepts, in words, by name.
        check: Raises ValueError for values that the engine does not accept.
    """

    ranges: Mapping[str, str]
    check: Callable[[dict[str, str]], object]


def load_engine() -> Engine:
    """Ask the compiled engine; PyTorch is not needed for that.

    Raises:
        UsageError: This installation has no engine that can be loaded.
    """
    try:
        from rueda import _core  # noqa: PLC0415 - only options of the engine need it
    except ImportError as error:
        raise UsageError(f"rueda's engine cannot be loaded to check options: {error}") from None
    return Engine({row.name: row.range for row in _core.list_options()}, _core.parse_config)


def engine_settings(given: Mapping[str, Given], load: Callable[[], Engine]) -> Settings:
    """Return the variables that options stand for.

    Raises:
        UsageError: A value is out of range, or this version's engine has no such variable.
    """
    settings: Settings = {}
    for option in TABLE:
        value = given.get(option.field)
        if value is not None and option.variable:
            settings.update(_setting(option, value, load()))
    if "stall_check" in given:
        off = given["stall_check"].text == NO
        settings.setdefault(f"{PREFIX}STALL_CHECK_TIME_SECONDS", "0" if off else None)
        if off:
            settings[f"{PREFIX}STALL_SHUTDOWN_TIME_SECONDS"] = "0"
    return settings


def _setting(option: Option, value: Given, engine: Engine) -> Settings:
    variable = f"{PREFIX}{option.variable}"
    if variable not in engine.ranges:
        if not option.value and value.text == NO:
            return {}  # What is not there is off.
        raise UsageError(
            f"{value.where} is not in this version of rueda: its engine has no {variable}"
        )
    if not option.value:
        return {variable: "1" if value.text == YES else "0"}
    text = option.read(value.where, value.text)
    try:
        engine.check({variable: text})
    except ValueError:
        raise UsageError(
            f"{value} is not accepted; {variable} takes {engine.ranges[variable]}"
        ) from None
    return {variable: text}


def remarks(given: Mapping[str, Given]) -> tuple[str, ...]:
    """Say of each option that is taken without effect why that is so.

    Raises:
        UsageError: Its value would not have been one.
    """
    said = []
    for option in NO_EFFECT.options:
        value = given.get(option.field)
        if value is None:
            continue
        if option.value:
            option.read(value.where, value.text)
        if value.text != NO:
            said.append(f"{value} has no effect: {option.no_effect}")
    return tuple(said)
