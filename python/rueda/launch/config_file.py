"""Options from a YAML file, in the sections that horovodrun's have; the command line wins.

num_proc: 4
params:
  fusion_threshold_mb: 32
stall_check:
  enabled: false
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from rueda.launch.command_line import contradiction, refuse_contradictions
from rueda.launch.option import NO, YES, Given, Option
from rueda.launch.option_table import BY_KEY
from rueda.launch.usage import UsageError, nearest

_CONTROLLERS = ("gloo", "mpi", "jsrun")


def with_config_file(given: Mapping[str, Given]) -> dict[str, Given]:
    """Add the options of ``--config-file``; what contradicts the command line gives way to it.

    Raises:
        UsageError: The file cannot be read, is no such file, or contradicts itself.
    """
    if "config_file" not in given:
        return dict(given)
    from_file = read_config(given["config_file"].text)
    refuse_contradictions(from_file)
    if "nproc_per_node" in given:
        from_file.pop("num_proc", None)
    merged = {**from_file, **given}
    while (found := contradiction(merged)) is not None:
        weaker = [field for field, value in merged.items() if value in found[:2] and value.file]
        if not weaker:
            break  # Both are on the command line, whose contradictions are the caller's to say.
        for field in weaker:
            del merged[field]
    return merged


def read_config(path: str) -> dict[str, Given]:
    """Read a configuration file as if its options had been given on a command line.

    Raises:
        UsageError: The file cannot be read, is no YAML, or has a key that is not known.
    """
    given: dict[str, Given] = {}
    for key, value in _flat(_load(path), path):
        if key == "controller":
            _put_controller(given, value, path)
            continue
        option = BY_KEY.get(key)
        if option is None:
            raise UsageError(_unknown(key, path))
        given[option.field] = Given(key, _text(option, key, value, path), path)
    return given


def _load(path: str) -> Mapping[Any, Any]:
    try:
        import yaml  # noqa: PLC0415 - only --config-file needs it
    except ImportError:
        raise UsageError("--config-file needs PyYAML: pip install PyYAML") from None
    try:
        content = yaml.safe_load(Path(path).read_bytes())
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or error
        raise UsageError(f"--config-file {path!r} cannot be read: {why}") from None
    except (yaml.YAMLError, RecursionError) as error:
        why = " ".join(str(error).split())
        raise UsageError(f"--config-file {path!r} is no YAML: {why}") from None
    if content is None:
        return {}
    if not isinstance(content, dict):
        raise UsageError(
            f"--config-file {path!r} must hold sections and keys, found {_kind(content)}"
        )
    return content


def _flat(content: Mapping[Any, Any], path: str) -> Iterator[tuple[str, object]]:
    """Yield ``section.key`` and value; a section or key without a value is passed over."""
    sections = {key.partition(".")[0] for key in BY_KEY if "." in key}
    for name, value in content.items():
        if value is None and (name in sections or name in BY_KEY):
            continue
        if isinstance(value, dict) and name in sections:
            yield from ((f"{name}.{key}", item) for key, item in value.items() if item is not None)
        elif name in sections:
            raise UsageError(f"{name} in {path} is a section and holds keys, not {_kind(value)}")
        else:
            yield str(name), value


def _put_controller(given: dict[str, Given], value: object, path: str) -> None:
    field = str(value).lower()
    if field not in _CONTROLLERS:
        raise UsageError(f"controller in {path} must be gloo, mpi or jsrun, not {value!r}")
    given[field] = Given(f"controller {field}", YES, path)


def _text(option: Option, key: str, value: object, path: str) -> str:
    """Return a value as it would be on a command line."""
    if not option.value:
        if not isinstance(value, bool):
            raise UsageError(f"{key} in {path} must be true or false, not {value!r}")
        return YES if value else NO
    if isinstance(value, bool) or not isinstance(value, (str, int, float)):
        raise UsageError(f"{key} in {path} must be one value, {option.value}, not {_kind(value)}")
    return str(value)


def _kind(value: object) -> str:
    if isinstance(value, dict):
        return "a section"
    return "a list" if isinstance(value, list) else repr(value)


def _unknown(key: str, path: str) -> str:
    """Say that a key is not known, and which one was probably meant."""
    section, dot, name = key.rpartition(".")
    within = {
        known.rpartition(".")[2]: known for known in BY_KEY if known.startswith(f"{section}.")
    }
    if dot and within:
        guess = nearest(name, within)
        known = sorted(within.values())
    else:
        names = {known.rpartition(".")[2]: known for known in BY_KEY}
        sections = {known.partition(".")[0]: known.partition(".")[0] for known in BY_KEY}
        within = {**names, **sections, "controller": "controller"}
        guess = nearest(key, within)
        known = sorted(sections)
    hint = f"did you mean {within[guess]}?" if guess else f"known are {', '.join(known)}"
    return f"unknown key {key} in {path}; {hint}"
