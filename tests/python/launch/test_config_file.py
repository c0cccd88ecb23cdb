"""--config-file: the same options in YAML, and who wins."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from rueda.launch.command_line import split_words
from rueda.launch.engine_settings import Engine
from rueda.launch.option_table import BY_KEY, TABLE
from rueda.launch.options import Options, parse
from rueda.launch.usage import UsageError

ENGINE = Engine(
    {f"RUEDA_{option.variable}": "any" for option in TABLE if option.variable},
    lambda variables: None,
)
Reader = Callable[..., Options]


@pytest.fixture
def read(tmp_path: Path) -> Reader:
    """``read(yaml, word, ...)``: the options of a file and a command line."""

    def options(text: str, *argv: str) -> Options:
        path = tmp_path / "config.yaml"
        path.write_text(text)
        words = split_words(["--config-file", str(path), *argv, "train.py"])
        return parse(
            words,
            count=lambda word: 3,
            is_this_host=lambda name: name == "localhost",
            load=lambda: ENGINE,
        )

    return options


@pytest.fixture
def complaint(read: Reader) -> Callable[..., str]:
    def text(*words: str) -> str:
        with pytest.raises(UsageError) as caught:
            read(*words)
        assert "\n" not in str(caught.value)
        return str(caught.value)

    return text


FULL = """
num_proc: 2
verbose: true
start_timeout: 20
output_filename: logs
controller: gloo
params:
  fusion_threshold_mb: 32
  cycle_time_ms: 3.5
  cache_capacity: 2048
  hierarchical_allreduce: false
autotune:
  enabled: true
  log_file: tune.csv
  warmup_samples: 5
timeline:
  filename: timeline.json
  mark_cycles: true
stall_check:
  enabled: true
  warning_time_seconds: 120
  shutdown_time_seconds: 240
library_options:
  gloo_timeout_seconds: 60
logging:
  level: INFO
  prefix_output_with_timestamp: true
elastic:
"""


def test_the_sections_of_horovodrun_are_read(read: Reader) -> None:
    options = read(FULL)
    assert (options.num_proc, options.verbose, options.timestamps) == (2, True, True)
    assert (options.log_dir, options.tees) == ("logs", (3, 3))
    assert options.settings == {
        "RUEDA_START_TIMEOUT_SECONDS": "20",
        "RUEDA_FUSION_THRESHOLD": str(32 << 20),
        "RUEDA_CACHE_CAPACITY": "2048",
        "RUEDA_AUTOTUNE": "1",
        "RUEDA_AUTOTUNE_LOG": "tune.csv",
        "RUEDA_AUTOTUNE_WARMUP_SAMPLES": "5",
        "RUEDA_TIMELINE": "timeline.json",
        "RUEDA_TIMELINE_MARK_CYCLES": "1",
        "RUEDA_STALL_CHECK_TIME_SECONDS": "120",
        "RUEDA_STALL_SHUTDOWN_TIME_SECONDS": "240",
        "RUEDA_TIMEOUT_SECONDS": "60",
        "RUEDA_LOG_LEVEL": "info",
    }
    said = [remark.partition(" in ")[0] for remark in options.remarks]
    assert said == ["params.cycle_time_ms: 3.5", "controller gloo: yes"]


def test_an_empty_file_and_empty_sections_say_nothing(read: Reader) -> None:
    assert read("").settings == {}
    assert read("params:\nstall_check:\n  enabled:\n").settings == {}


@pytest.mark.parametrize(
    ("text", "words", "settings"),
    [
        ("params: {cache_capacity: 5}", ("--cache-capacity", "7"), {"CACHE_CAPACITY": "7"}),
        (
            "stall_check: {enabled: false}",
            ("--stall-check-warning-time-seconds", "3"),
            {"STALL_CHECK_TIME_SECONDS": "3"},
        ),
        (
            "stall_check: {warning_time_seconds: 3}",
            ("--no-stall-check",),
            {"STALL_CHECK_TIME_SECONDS": "0", "STALL_SHUTDOWN_TIME_SECONDS": "0"},
        ),
        ("autotune: {enabled: true, log_file: f}", ("--no-autotune",), {"AUTOTUNE": "0"}),
        ("controller: mpi", ("--gloo",), {}),
    ],
)
def test_the_command_line_wins(
    read: Reader, text: str, words: tuple[str, ...], settings: dict[str, str]
) -> None:
    expected = {f"RUEDA_{name}": value for name, value in settings.items()}
    assert read(text, *words).settings == expected


def test_the_command_lines_number_of_workers_wins(read: Reader) -> None:
    assert read("num_proc: 7", "-np", "2").num_proc == 2
    assert read("num_proc: 7", "--nproc-per-node", "cpu").num_proc == 3


def test_the_command_lines_hosts_win(read: Reader, tmp_path: Path) -> None:
    hosts = tmp_path / "hosts"
    hosts.write_text("localhost slots=2")
    assert read("hosts: 'node7:4'", "--hostfile", str(hosts)).num_proc == 2


@pytest.mark.parametrize(
    ("text", "hints"),
    [
        ("params: {fusion_treshold_mb: 1}", ("did you mean params.fusion_threshold_mb?",)),
        ("fusion_threshold_mb: 1", ("did you mean params.fusion_threshold_mb?",)),
        ("parms: {cache_capacity: 1}", ("did you mean params?",)),
        ("timeline: {file: t}", ("did you mean timeline.filename?",)),
        ("timeline: {qqqq: t}", ("unknown key timeline.qqqq", "timeline.mark_cycles")),
        ("params: 5", ("params", "is a section", "5")),
        ("params: [1, 2]", ("a list",)),
        ("num_proc: [2]", ("num_proc", "a list")),
        ("num_proc: true", ("num_proc", "True")),
        ("num_proc: two", ("num_proc in", "'two'")),
        ("verbose: 1", ("verbose", "true or false")),
        ("- a\n- b", ("must hold sections and keys", "a list")),
        ("a: b: c", ("is no YAML",)),
        ("x: !!python/object/apply:os.system ['true']", ("is no YAML",)),
        ("controller: ssh", ("controller", "'ssh'")),
        ("controller: mpi", ("controller mpi", "mpirun")),
        ("elastic: {reset_limit: 3}", ("elastic.reset_limit in", "not in this version")),
        ("hosts: 'node7:4'", ("node7", "not this machine")),
        ("params: {cache_capacity: -1}", ("params.cache_capacity in", "'-1'")),
        (
            "stall_check: {enabled: false, warning_time_seconds: 3}",
            ("stall_check.enabled: no", "stall_check.warning_time_seconds: 3", "contradict"),
        ),
        ("1: 2", ("unknown key 1",)),
    ],
)
def test_a_wrong_file_says_what_is_wrong_and_where(
    complaint: Callable[..., str], text: str, hints: tuple[str, ...]
) -> None:
    said = complaint(text)
    assert all(hint in said for hint in hints), said
    assert "config.yaml" in said


def test_contradictions_on_the_command_line_stay_the_users(complaint: Callable[..., str]) -> None:
    text = complaint("", "--no-autotune", "--autotune-log-file", "f")
    assert text.startswith("--no-autotune and --autotune-log-file f contradict")


def test_files_that_cannot_be_read_are_refused(tmp_path: Path) -> None:
    for path, why in ((tmp_path / "none", "No such file"), (tmp_path, "Is a directory")):
        with pytest.raises(UsageError, match=why):
            parse(
                split_words(["--config-file", str(path), "x"]),
                count=lambda word: 1,
                is_this_host=lambda name: True,
            )


def test_without_pyyaml_it_says_what_to_install(
    complaint: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "yaml", None)
    assert "pip install PyYAML" in complaint("num_proc: 2")


def test_every_key_is_a_section_and_a_name_or_a_name() -> None:
    assert all(key.count(".") <= 1 for key in BY_KEY)
    assert len(BY_KEY) == sum(bool(option.key) for option in TABLE)
