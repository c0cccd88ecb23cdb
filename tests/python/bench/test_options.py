"""Command lines: what is taken, and how the rest is refused before anything is started."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from rueda._bench.option_values import size_of
from rueda._bench.options import Command, parse
from rueda.launch.usage import UsageError


def parsed(words: str) -> Command:
    return parse(words.split())


def test_defaults_measure_everything_on_two_ranks() -> None:
    settings = parsed("").settings
    assert settings.ranks == 2
    assert settings.sizes[0] == 8
    assert settings.sizes[-1] == 64 << 20
    assert settings.peers == ("gloo", "openmpi", "horovod", "sockets")


def test_sizes_are_binary_and_sorted() -> None:
    assert parsed("--sizes 64M,8,4k,1MiB").settings.sizes == (8, 4096, 1 << 20, 64 << 20)
    assert size_of("--sizes", "2GB") == 2 << 30


def test_a_range_is_that_of_nccl_tests() -> None:
    assert parsed("-b 8 -e 128 -f 2").settings.sizes == (8, 16, 32, 64, 128)
    assert parsed("--min 1K --max 100K --factor 10").settings.sizes == (1024, 10240, 102400)
    assert parsed("-e 31").settings.sizes == (8,)


def test_cpp_is_both_levels_of_cpp() -> None:
    assert parsed("--level cpp").settings.levels == ("transport", "engine")
    assert parsed("--level python,cpp").settings.levels == ("transport", "engine", "python")


def test_quick_is_shorter_but_keeps_what_is_given() -> None:
    quick, plain = parsed("--quick").settings, parsed("").settings
    assert quick.rounds < plain.rounds
    assert quick.sample_seconds < plain.sample_seconds
    assert set(quick.sizes) < set(plain.sizes) | {1 << 20, 64 << 10, 4096}
    assert parsed("--quick --rounds 7 --sizes 16").settings.rounds == 7
    assert parsed("--quick --rounds 7 --sizes 16").settings.sizes == (16,)


def test_training_steps_take_the_place_of_messages() -> None:
    settings = parsed("--train").settings
    assert settings.workloads == ("train",)
    assert (settings.model, settings.compute_ms) == ("resnet50", 200)
    other = parsed("--train --model mlp --compute-ms 7 --peers gloo -np 3 --quick").settings
    assert (other.model, other.compute_ms, other.peers) == ("mlp", 7, ("gloo",))
    assert (other.ranks, other.rounds) == (3, 5)


def test_lists_come_in_one_order_and_none_means_none() -> None:
    assert parsed("--peers sockets,gloo").settings.peers == ("gloo", "sockets")
    assert parsed("--peers none").settings.peers == ()
    assert parsed("--roads staged,in-place").settings.roads == ("in-place", "staged")


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("--size 8", "unknown option --size; did you mean --sizes?"),
        ("--qick", "did you mean --quick?"),
        ("--sizes 8,4Q", "sizes such as 8, 4K or 64M, found '4Q'"),
        ("--sizes 0", "from 1 byte"),
        ("--sizes 999G", "from 1 byte to 16G"),
        ("--sizes 8 -b 8", "--sizes and --min contradict"),
        ("-b 64 -e 8", "--min 64 is larger than --max 8"),
        ("-f 1", "at least 2"),
        ("-np 0", "from 1 to 64"),
        ("-np two", "from 1 to 64, found 'two'"),
        ("--rounds 0", "--rounds needs a whole number"),
        ("--dtype floot32", "found 'floot32'; did you mean float32?"),
        ("--peers openmp", "did you mean openmpi?"),
        ("--peers none,gloo", "none stands alone"),
        ("--collective broadcast --op max", "broadcast adds nothing"),
        ("--goals --sizes 8", "leave out --sizes"),
        ("--goals -np 4", "leave out --np"),
        ("--json /no/such/folder/a.json", "there is no folder /no/such/folder"),
        ("--sizes", "expected one argument"),
        ("--train --sizes 8", "--sizes is for messages; leave it out"),
        ("--train --workload many", "--workload is for messages"),
        ("--train --chart a.png", "--chart is for messages"),
        ("--train --goals", "--goals measures training steps, too"),
        ("--compute-ms 5", "--compute-ms is for training steps; add --train"),
        ("--train --compute-ms 0", "from 1 to 60000, found '0'"),
        ("--train --model resnet5", "found 'resnet5'; did you mean resnet50?"),
    ],
)
def test_wrong_command_lines_are_refused_in_words(words: str, expected: str) -> None:
    with pytest.raises(UsageError) as error:
        parsed(words)
    assert expected in str(error.value)


def command(*words: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "rueda", *words],
        cwd=cwd,
        check=False,
        capture_output=True,
        text=True,
        timeout=60,
    )


def test_the_command_helps_and_refuses(tmp_path: Path) -> None:
    shown = command("bench", "--help", cwd=tmp_path)
    assert shown.returncode == 0
    assert "--sizes LIST" in shown.stdout
    wrong = command("bench", "--sizs", "8", cwd=tmp_path)
    assert wrong.returncode == 2
    assert wrong.stderr.startswith("rueda bench: unknown option --sizs")
    assert command(cwd=tmp_path).returncode == 2
    unknown = command("bensh", cwd=tmp_path)
    assert unknown.returncode == 2
    assert "did you mean bench?" in unknown.stderr


def test_help_needs_no_pytorch(tmp_path: Path) -> None:
    code = (
        "import sys; sys.modules['torch'] = None; "
        "from rueda.__main__ import main; sys.exit(main(['bench', '--help']))"
    )
    shown = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, check=False, capture_output=True, timeout=60
    )
    assert shown.returncode == 0, shown.stderr
