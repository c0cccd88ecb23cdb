"""horovodrun's options: what they set, what has no effect, what is refused, and in which words."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from rueda.launch.command_line import split_words
from rueda.launch.engine_settings import Engine, load_engine
from rueda.launch.option_table import NO_EFFECT, REFUSED, TABLE
from rueda.launch.options import Options, parse
from rueda.launch.usage import UsageError
from rueda.launch.worker_environment import with_settings

ALL_VARIABLES = {f"RUEDA_{option.variable}": "any" for option in TABLE if option.variable}
EVERYTHING = Engine(ALL_VARIABLES, lambda variables: None)
NOTHING = Engine({}, lambda variables: None)


def read(*argv: str, engine: Callable[[], Engine] = lambda: EVERYTHING) -> Options:
    return parse(
        split_words(argv),
        count=lambda word: 1,
        is_this_host=lambda name: name in ("localhost", "here"),
        load=engine,
    )


def complaint(*argv: str, engine: Callable[[], Engine] = lambda: EVERYTHING) -> str:
    with pytest.raises(UsageError) as caught:
        read(*argv, engine=engine)
    text = str(caught.value)
    assert "\n" not in text
    return text


@pytest.mark.parametrize(
    ("words", "settings"),
    [
        (("--fusion-threshold-mb", "32"), {"FUSION_THRESHOLD": str(32 << 20)}),
        (("--fusion-threshold-mb", "0.5"), {"FUSION_THRESHOLD": str(1 << 19)}),
        (("--fusion-threshold-mb", "0"), {"FUSION_THRESHOLD": "1"}),
        (("--cache-capacity=0",), {"CACHE_CAPACITY": "0"}),
        (("--start-timeout", "7.5"), {"START_TIMEOUT_SECONDS": "7.5"}),
        (("--gloo-timeout-seconds", "9"), {"TIMEOUT_SECONDS": "9"}),
        (
            ("--no-stall-check",),
            {"STALL_CHECK_TIME_SECONDS": "0", "STALL_SHUTDOWN_TIME_SECONDS": "0"},
        ),
        (("--stall-check",), {"STALL_CHECK_TIME_SECONDS": None}),
        (
            ("--stall-check", "--stall-check-warning-time-seconds", "4"),
            {"STALL_CHECK_TIME_SECONDS": "4"},
        ),
        (("--stall_check_shutdown_time_seconds=8",), {"STALL_SHUTDOWN_TIME_SECONDS": "8"}),
        (("--log-level", "DEBUG"), {"LOG_LEVEL": "debug"}),
        (("--timeline-filename", "t.json"), {"TIMELINE": "t.json"}),
        (("--timeline-mark-cycles",), {"TIMELINE_MARK_CYCLES": "1"}),
        (("--no-timeline-mark-cycles",), {"TIMELINE_MARK_CYCLES": "0"}),
        (
            ("--autotune", "--autotune-log-file", "a.csv"),
            {"AUTOTUNE": "1", "AUTOTUNE_LOG": "a.csv"},
        ),
        (("--no-autotune",), {"AUTOTUNE": "0"}),
        (("--autotune-warmup-samples", "2"), {"AUTOTUNE_WARMUP_SAMPLES": "2"}),
        (
            ("--autotune-gaussian-process-noise", ".5"),
            {"AUTOTUNE_GAUSSIAN_PROCESS_NOISE": ".5"},
        ),
        (("--autotune-result", "a.csv"), {"AUTOTUNE_RESULT": "a.csv"}),
    ],
)
def test_options_set_the_engines_variables(
    words: tuple[str, ...], settings: dict[str, str | None]
) -> None:
    expected = {f"RUEDA_{name}": value for name, value in settings.items()}
    assert read(*words, "train.py").settings == expected


def test_an_option_wins_over_a_variable() -> None:
    settings = read("--cache-capacity", "5", "--stall-check", "x").settings
    own = {"RUEDA_CACHE_CAPACITY": "9", "RUEDA_STALL_CHECK_TIME_SECONDS": "0", "HOME": "/h"}
    assert with_settings(own, settings) == {"RUEDA_CACHE_CAPACITY": "5", "HOME": "/h"}


def test_without_options_the_engine_is_not_asked() -> None:
    def never() -> Engine:
        raise AssertionError("loaded")

    assert read("-np", "2", "--verbose", "train.py", engine=never).settings == {}


def test_what_the_engine_does_not_know_is_refused_and_may_be_switched_off() -> None:
    text = complaint("--timeline-filename", "t.json", "x", engine=lambda: NOTHING)
    assert text.startswith("--timeline-filename is not in this version")
    assert "RUEDA_TIMELINE" in text
    assert read("--no-autotune", "--no-timeline-mark-cycles", "x", engine=lambda: NOTHING)


def test_the_engine_knows_what_autotune_needs() -> None:
    words = ["--autotune", "--autotune-log-file", "f", "--autotune-warmup-samples", "1"]
    words += ["--autotune-bayes-opt-max-samples", "5", "--autotune-gaussian-process-noise", "0.1"]
    assert read(*words, "x", engine=load_engine).settings == {
        "RUEDA_AUTOTUNE": "1",
        "RUEDA_AUTOTUNE_LOG": "f",
        "RUEDA_AUTOTUNE_WARMUP_SAMPLES": "1",
        "RUEDA_AUTOTUNE_BAYES_OPT_MAX_SAMPLES": "5",
        "RUEDA_AUTOTUNE_GAUSSIAN_PROCESS_NOISE": "0.1",
    }


@pytest.mark.parametrize(
    ("words", "hints"),
    [
        (("--cache-capacity", "99999999"), ("--cache-capacity 99999999", "0 to 65536")),
        (("--log-level", "loud"), ("--log-level loud", "warning")),
        (("--autotune-steps-per-sample", "0"), ("1 to 10000",)),
        (("--start-timeout", "0"), ("--start-timeout 0", "seconds")),
    ],
)
def test_ranges_are_the_engines_own(words: tuple[str, ...], hints: tuple[str, ...]) -> None:
    text = complaint(*words, "x", engine=load_engine)
    assert all(hint in text for hint in hints), text


@pytest.mark.parametrize(
    ("words", "hints"),
    [
        (("--fusion-threshold-mb", "many"), ("--fusion-threshold-mb", "'many'")),
        (("--fusion-threshold-mb", "-1"), ("'-1'",)),
        (("--fusion-threshold-mb", "inf"), ("'inf'",)),
        (("--cache-capacity", "1.5"), ("whole number", "'1.5'")),
        (("--autotune-gaussian-process-noise", "1.1"), ("0 to 1", "'1.1'")),
        (("--cycle-time-ms", "soon"), ("--cycle-time-ms", "'soon'")),
        (("--num-nccl-streams", "x"), ("--num-nccl-streams", "'x'")),
        (("--stall-check=yes",), ("--stall-check is a switch",)),
        (("--stall-check", "--no-stall-check"), ("--stall-check and --no-stall-check",)),
        (("--autotune", "--no-autotune"), ("--autotune and --no-autotune",)),
        (("--autotune", "--autotune-result", "f"), ("--autotune-result f", "contradict")),
        (
            ("--no-stall-check", "--stall-check-warning-time-seconds", "3"),
            ("--no-stall-check", "--stall-check-warning-time-seconds 3", "contradict"),
        ),
        (
            ("--no-autotune", "--autotune-log-file", "f"),
            ("--no-autotune", "--autotune-log-file f", "contradict"),
        ),
        (("-H", "localhost", "--hostfile", "f"), ("-H localhost", "--hostfile f", "contradict")),
        (("--gloo", "--mpi"), ("--gloo and --mpi", "contradict")),
        (("-m", "--no-python"), ("-m and --no-python", "contradict")),
        (("--log-dir", "a", "--output-filename", "b"), ("twice", "'a'", "'b'")),
        (("--log-with-timestamp", "--log-without-timestamp"), ("contradict",)),
        (("--blacklist-cooldown-range", "9"), ("whole number", "'train.py'")),
        (("--blacklist-cooldown-range", "9", "--verbose"), ("2 values", "--verbose follows")),
        (("--blacklist-cooldown-range=9",), ("2 values",)),
        (("--blacklist-cooldown-range", "9", "3"), ("MIN and MAX", "9 3")),
    ],
)
def test_wrong_values_and_contradictions_are_named(
    words: tuple[str, ...], hints: tuple[str, ...]
) -> None:
    text = complaint(*words, "train.py")
    assert all(hint in text for hint in hints), text


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("--fusion-treshold-mb", "--fusion-threshold-mb"),
        ("--no-stall-chek", "--no-stall-check"),
        ("--autotun", "--autotune"),
        ("--timeline-file", "--timeline-filename"),
        ("--as-hvd", "--as-horovod"),
        ("-hostfil", "-hostfile"),
        ("--outputfilename", "--output-filename"),
    ],
)
def test_the_nearest_known_option_is_named(typed: str, meant: str) -> None:
    assert f"did you mean {meant}?" in complaint(typed, "x")


@pytest.mark.parametrize("option", REFUSED.options, ids=lambda option: option.field)
def test_remote_and_elastic_options_are_refused_under_each_name(option) -> None:
    values = {"MIN MAX": ["1", "2"], "": []}.get(option.value, ["1"])
    for name in option.names:
        text = complaint(name, *values, "train.py")
        assert text.startswith(f"{name} is not in this version: ")


def test_the_value_of_a_refused_option_is_checked_first() -> None:
    assert "whole number" in complaint("--min-np", "two", "train.py")


@pytest.mark.parametrize("option", NO_EFFECT.options, ids=lambda option: option.field)
def test_options_without_effect_say_why(option) -> None:
    values = ["1"] if option.value else []
    for name in option.names:
        (remark,) = read(name, *values, "train.py").remarks
        assert remark == f"{' '.join([name, *values])} has no effect: {option.no_effect}"
    for name in option.negative:
        assert read(name, "train.py").remarks == ()


def test_the_output_folder_has_horovods_name_too() -> None:
    options = read("-np", "2", "--output-filename", "logs", "train.py")
    assert (options.log_dir, options.tees) == ("logs", (3, 3))


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("localhost slots=3", 3),
        ("# a comment\n\n  here   slots = 2 max_slots=4  # and one more\n", 2),
        ("localhost", 1),
    ],
)
def test_a_hostfile_of_this_host_gives_the_number_of_workers(
    tmp_path: Path, text: str, number: int
) -> None:
    path = tmp_path / "hosts"
    path.write_text(text)
    for name in ("-hostfile", "--hostfile"):
        assert read(name, str(path), "train.py").num_proc == number


@pytest.mark.parametrize(
    ("text", "hints"),
    [
        ("localhost slots=2\nnode7 slots=2", ("node7", "not this machine", "torchrun")),
        ("localhost slots=2\nlocalhost slots=2", ("2 times",)),
        ("localhost slots=two", ("line 1", "slots", "'two'")),
        ("\nlocalhost 2", ("line 2", "HOST slots=N", "'localhost 2'")),
        ("localhost:2", ("line 1", "HOST slots=N")),
        ("# nobody", ("names no host",)),
        ("localhost slots=2000", ("1024", "2000")),
    ],
)
def test_hostfiles_that_do_not_fit_are_refused(
    tmp_path: Path, text: str, hints: tuple[str, ...]
) -> None:
    path = tmp_path / "hosts"
    path.write_text(text)
    said = complaint("--hostfile", str(path), "train.py")
    assert all(hint in said for hint in hints), said


def test_a_hostfile_that_is_not_there_or_too_small_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "hosts"
    assert "No such file" in complaint("--hostfile", str(path), "x")
    path.write_text("localhost slots=2")
    assert "-np 3 is more than the 2 slots" in complaint("-np", "3", "--hostfile", str(path), "x")
