"""Command lines of the simulated control plane: what is taken, and what is refused in words."""

from __future__ import annotations

import pytest

from rueda._bench.control_settings import CASES, ControlSettings, Link
from rueda._bench.options import parse
from rueda.launch.usage import UsageError


def parsed(words: str) -> ControlSettings:
    settings = parse(f"--control {words}".split()).control
    assert settings is not None
    return settings


def test_defaults_simulate_every_case_up_to_1024_ranks() -> None:
    settings = parsed("")
    assert settings.ranks == (2, 4, 8, 16, 32, 64, 128, 256, 512, 1024)
    assert settings.cases == tuple(CASES)
    assert (settings.tensors, settings.tensor_bytes, settings.ranks_per_host) == (300, 1024, 8)
    assert (settings.within_host.latency_us, settings.between_hosts.latency_us) == (0.2, 5.0)
    assert parse([]).control is None


def test_quick_takes_fewer_ranks_and_steps_but_what_is_given() -> None:
    quick = parsed("--quick")
    assert quick.rounds < parsed("").rounds
    assert set(quick.ranks) < set(parsed("").ranks)
    assert parsed("--quick --ranks 4096,2,7 --rounds 9").ranks == (2, 7, 4096)
    assert parsed("--quick --rounds 9").rounds == 9


def test_links_are_given_as_pairs() -> None:
    settings = parsed("--latency-us 0,1.5 --bandwidth 20,0 --message-us 0.05,2 --skew-us 30")
    assert settings.within_host == Link(0.0, 20.0, 0.05)
    assert settings.between_hosts == Link(1.5, 0.0, 2.0)
    assert settings.skew_us == 30.0
    other = parsed("--cases mix,cached --tensors 7 --tensor-bytes 1M --ranks-per-host 1 --seed 5")
    assert (other.cases, other.tensors, other.tensor_bytes) == (("cached", "mix"), 7, 1 << 20)
    assert (other.ranks_per_host, other.seed) == (1, 5)
    tree = parsed("--topology tree --fan-out 3 --patience-us 50")
    assert (tree.topologies, tree.fan_out, tree.patience_us) == (("tree",), 3, 50.0)


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("--control --ranks 1", "a rank alone agrees with nobody"),
        ("--control --ranks 2,4097", "from 1 to 4096, found '4097'"),
        ("--control --ranks two", "found 'two'"),
        ("--control --cases cachd", "found 'cachd'; did you mean cached?"),
        ("--control --topology ring", "--topology takes star, tree"),
        ("--control --tensors 0", "from 1 to 8192, found '0'"),
        ("--control --tensor-bytes 6", "multiples of 4"),
        ("--control --latency-us 5", "two numbers, within a host and between; found 5"),
        ("--control --latency-us 5,-1", "from 0 to 1e+06, found '-1'"),
        ("--control --bandwidth 5,fast", "found 'fast'"),
        ("--control --skew-us nan", "found 'nan'"),
        ("--control --fan-out 0", "--fan-out needs a whole number from 1"),
        ("--control --patience-us -1", "from 0 to 1e+06"),
        ("--control --ranks-per-host 0", "from 1 to 4096"),
        ("--control -np 4", "give --ranks"),
        ("--control --peers gloo", "--peers are not simulated"),
        ("--control --sizes 8", "--sizes is for messages; leave it out"),
        ("--control --chart a.png", "--chart is for messages"),
        ("--control --model mlp", "--model is for training steps; leave it out"),
        ("--control --train", "--train and --control are two benchmarks"),
        ("--control --goals", "--goals measures the control plane, too"),
        ("--ranks 4", "--ranks is for the simulated control plane; add --control"),
        ("--train --seed 4", "--seed is for the simulated control plane; leave it out"),
        ("--contrl", "did you mean --control?"),
    ],
)
def test_wrong_command_lines_are_refused_before_anything_starts(words: str, expected: str) -> None:
    with pytest.raises(UsageError) as error:
        parse(words.split())
    assert expected in str(error.value)
