from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rueda.launch.command_line import split_words
from rueda.launch.option_table import BY_NAME, TABLE
from rueda.launch.options import Options, parse
from rueda.launch.usage import UsageError


def read(*argv: str, cores: int = 6, gpus: int = 0) -> Options:
    counts = {"cpu": cores, "gpu": gpus, "auto": gpus or cores}
    return parse(
        split_words(argv), count=counts.__getitem__, is_this_host=lambda name: name == "localhost"
    )


def complaint(*argv: str) -> str:
    with pytest.raises(UsageError) as caught:
        read(*argv)
    text = str(caught.value)
    assert "\n" not in text
    return text


@pytest.mark.parametrize(
    "words",
    [
        ("-np", "3"),
        ("-n", "3"),
        ("-np3",),
        ("-n3",),
        ("--num-proc", "3"),
        ("--num_proc=3",),
        ("--nproc-per-node", "3"),
        ("--nproc_per_node=3",),
        ("-np", "3", "--nproc-per-node", "3"),
        ("-H", "localhost:3"),
        ("-H", "localhost:5", "-np", "3"),
        ("-np", "3", "-np", "3"),
        ("--standalone", "--nnodes=1", "-np", "3"),
        ("--nnodes", "1:1", "-np", "3"),
    ],
)
def test_every_way_to_ask_for_three_workers(words: tuple[str, ...]) -> None:
    assert read(*words, "train.py").num_proc == 3


def test_one_worker_is_started_when_no_number_is_given() -> None:
    assert read("train.py").num_proc == 1


@pytest.mark.parametrize(("word", "number"), [("cpu", 6), ("gpu", 4), ("auto", 4)])
def test_words_of_torchrun_stand_for_counts(word: str, number: int) -> None:
    assert read("--nproc-per-node", word, "train.py", gpus=4).num_proc == number


def test_auto_counts_cores_without_gpus() -> None:
    assert read("--nproc-per-node=auto", "train.py").num_proc == 6


@pytest.mark.parametrize("number", ["0", "-1", "1025", "99999999999999999999"])
def test_a_number_of_processes_out_of_range_is_refused(number: str) -> None:
    assert complaint("-np", number, "train.py").startswith("-np ")


@pytest.mark.parametrize("number", ["two", "2.5", "", " 2", "1_0", "0x2", "²", "٣", "--", "-n"])
def test_what_is_no_number_is_refused(number: str) -> None:
    assert "-np" in complaint("-np", number, "train.py")


def test_the_programs_own_words_are_left_alone() -> None:
    own = ("--its", "--own", "-np", "9", "--", "--log-dir", "-h", "")
    options = read("-np", "2", "train.py", *own)
    assert (options.program, options.arguments, options.num_proc) == ("train.py", own, 2)


def test_two_dashes_end_the_options() -> None:
    options = read("-np", "2", "--", "--odd-name.py", "--", "x")
    assert (options.program, options.arguments) == ("--odd-name.py", ("--", "x"))


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("--nproc", "--nproc-per-node"),
        ("--npp", "-np"),
        ("--logdir", "--log-dir"),
        ("--modul", "--module"),
        ("--num_procs", "--num-proc"),
        ("--verbos", "--verbose"),
        ("--grace", "--grace-seconds"),
    ],
)
def test_an_unknown_option_names_the_nearest_known_one(typed: str, meant: str) -> None:
    text = complaint(typed, "2", "train.py")
    assert f"did you mean {meant}?" in text
    assert typed.replace("_", "-") in text


def test_an_option_like_no_other_points_to_the_help() -> None:
    assert "--help" in complaint("--qqqqqq", "train.py")


@pytest.mark.parametrize("option", ["--rdzv-backend", "--max_restarts", "--numa-binding"])
def test_options_of_torchrun_alone_are_refused_by_name(option: str) -> None:
    assert "an option of torchrun" in complaint(option, "1", "train.py")


@pytest.mark.parametrize(
    ("words", "hints"),
    [
        (("-m", "--no-python", "x"), ("-m", "--no-python")),
        (("-np", "2", "--nproc-per-node", "3", "x"), ("-np 2", "--nproc-per-node 3")),
        (("-np", "2", "-np", "3", "x"), ("twice", "'2'", "'3'")),
        (("-np", "3", "-H", "localhost:2", "x"), ("3", "2 slots")),
        (("--nnodes", "2", "x"), ("--nnodes", "2")),
        (("-H", "node7:2", "x"), ("node7", "not this machine")),
        (("-H", "localhost:2,node7:2", "x"), ("node7",)),
        (("-H", "localhost:1,localhost:1", "x"), ("2 times",)),
        (("-H", "localhost:x", "x"), ("SLOTS", "'x'")),
        (("-H", "", "x"), ("-H", "''")),
        (("--standalone=yes", "x"), ("switch", "'yes'")),
        (("--log-dir",), ("--log-dir needs a value",)),
        (("--log-dir", "--verbose", "x"), ("--log-dir", "--verbose follows")),
        (("--log-dir", "", "x"), ("--log-dir", "empty")),
        (("-np", "2"), ("script", "missing")),
        (("-np", "2", "--"), ("script", "missing")),
        (("-np", "2", "-m"), ("module", "missing")),
        (("--no-python",), ("command", "missing")),
        (("--grace-seconds", "-1", "x"), ("--grace-seconds", "'-1'")),
        (("--grace-seconds", "nan", "x"), ("'nan'",)),
        (("--grace-seconds", "soon", "x"), ("'soon'",)),
        (("-r", "4", "x"), ("-r", "'4'")),
        (("-r", "0:1:2", "x"), ("-r", "'1:2'")),
        (("-np", "2", "-t", "2:1", "x"), ("-t", "'2'", "0 to 1")),
        (("-np", "2", "-t", "1:1,1:2", "x"), ("-t", "1", "twice")),
        (("-np", "2", "--local-ranks-filter", "0,2", "x"), ("--local-ranks-filter", "'2'")),
        (("--local-ranks-filter", "", "x"), ("--local-ranks-filter",)),
    ],
)
def test_a_wrong_command_says_what_is_wrong(words: tuple[str, ...], hints: tuple[str, ...]) -> None:
    text = complaint(*words)
    assert all(hint in text for hint in hints), text


def test_streams_may_be_chosen_by_local_rank() -> None:
    options = read("-np", "3", "--log-dir", "d", "-r", "0:1,2:3", "-t", "2", "train.py")
    assert (options.redirects, options.tees) == ((1, 0, 3), (2, 2, 2))


def test_a_log_folder_alone_means_log_and_console() -> None:
    assert read("-np", "2", "--log-dir", "d", "x").tees == (3, 3)


def test_a_filter_hides_the_other_ranks() -> None:
    assert read("-np", "3", "--local-ranks-filter", "0,2", "x").shown == (True, False, True)


def test_torchruns_name_for_the_grace_period_is_taken() -> None:
    assert read("--shutdown_timeout", "1.5", "x").grace_s == 1.5


def test_every_option_has_a_text_and_a_name_of_its_own() -> None:
    assert len(BY_NAME) == sum(len(option.names) + len(option.negative) for option in TABLE)
    assert len({option.field for option in TABLE}) == len(TABLE)
    for option in TABLE:
        assert option.help.endswith(".") or option.no_effect or option.refused


@given(st.lists(st.text(max_size=12) | st.sampled_from(sorted(BY_NAME)), max_size=8))
def test_no_command_line_breaks_the_parser(argv: list[str]) -> None:
    try:
        options = read(*argv)
    except UsageError as error:
        assert str(error)
    else:
        assert 1 <= options.num_proc <= 1024
        assert (options.program, *options.arguments) == tuple(argv[-1 - len(options.arguments) :])
