"""``rueda bench``, from words to an exit code."""

from __future__ import annotations

import json
import os
import sys
import textwrap
from collections.abc import Sequence
from pathlib import Path

from rueda._bench.chart import NoChart, write_chart
from rueda._bench.control_settings import ControlSettings, goal_control
from rueda._bench.control_table import ControlTable, how_made
from rueda._bench.goal_plan import goal_settings
from rueda._bench.goals import verdicts
from rueda._bench.markdown import markdown
from rueda._bench.options import Command, parse, parser
from rueda._bench.plan import Case, plan_cases
from rueda._bench.report import Report, as_json, new_report
from rueda._bench.rows import Measured, rows_of
from rueda._bench.settings import Settings
from rueda._bench.stolen import StolenTime
from rueda._bench.text_table import TextTable, heading
from rueda._bench.verdict import WORDS, Verdict
from rueda._environment import environment
from rueda.exceptions import HorovodInternalError
from rueda.launch.help_text import terminal_columns
from rueda.launch.usage import UsageError

FAILED, WRONG_COMMAND, INTERRUPTED = 1, 2, 130


def main(words: Sequence[str]) -> int:
    """Run the command and return its exit code: 0, 1 (it failed, or results were wrong) or 2."""
    if "-h" in words or "--help" in words:
        print(parser().format_help(), end="")
        return 0
    try:
        command = parse(words)
        return _Bench(command, ["rueda", "bench", *words]).run()
    except UsageError as error:
        print(f"rueda bench: {error}", file=sys.stderr)
        return WRONG_COMMAND
    except (ValueError, ImportError, HorovodInternalError) as error:
        print(f"rueda bench: {error}", file=sys.stderr)
        return FAILED
    except KeyboardInterrupt:
        return INTERRUPTED


class _Bench:
    """One run, from the first line to the last."""

    def __init__(self, command: Command, words: Sequence[str]) -> None:
        self._command = command
        self._report = new_report(" ".join(words), command.settings.rounds)
        environ = environment()
        terminal = sys.stdout.isatty()
        self._colour = terminal and not environ.get("NO_COLOR") and environ.get("TERM") != "dumb"
        asked = environ.get("COLUMNS", "").isdigit()
        self._columns = terminal_columns(environ) if terminal or asked else None
        self._table = TextTable(self._columns, colour=self._colour)
        self._live = sys.stderr.isatty()

    def run(self) -> int:
        """Measure, print and write."""
        self._introduce()
        with StolenTime() as stolen:
            self._measure()
        self._report.stolen_percent = stolen.percent
        if self._report.stolen:
            self._report.remark(self._report.stolen)
            self._say(self._report.stolen, before=1)
        self._write()
        return self._judge()

    def _measure(self) -> None:
        command, settings = self._command, self._command.settings
        if command.goals:
            for one in goal_settings(settings):
                self._run(one)
            self._simulate(goal_control(settings.rounds))
            self._report.verdicts = verdicts(self._report.rows, self._report.control)
            self._print_goals(self._report.verdicts)
        elif command.control is not None:
            self._simulate(command.control)
        else:
            self._run(settings)

    def _judge(self) -> int:
        wrong = [
            f"{row.variant.label}: {row.measured.wrong} wrong elements: {heading(row.case, [])}"
            for row in self._report.rows
            if row.measured.wrong
        ]
        for text in dict.fromkeys(wrong):
            print(f"rueda bench: {text}", file=sys.stderr)
        return FAILED if wrong or not (self._report.rows or self._report.control) else 0

    def _introduce(self) -> None:
        machine = self._report.machine
        versions = ", ".join(f"{name} {version}" for name, version in machine.versions.items())
        self._say(
            f"{machine.processor}, {machine.cores} cores, {machine.memory_bytes / (1 << 30):.0f} "
            f"GiB, Linux {machine.kernel}; {versions}. {self._units()}"
        )
        if self._report.busy:
            self._report.remark(self._report.busy)
            self._say(self._report.busy)

    def _units(self) -> str:
        if self._command.control is not None:
            return "Microseconds of virtual time; x: times as much as with 2 ranks"
        medians = f"Medians of {self._report.rounds} rounds in which all take turns; "
        if self._command.settings.workloads == ("train",):
            return (
                f"{medians}milliseconds. exposed: what communication adds to the step; comm: what "
                "it adds to one that computes nothing; kept: zero_grad(set_to_none=False)"
            )
        return f"{medians}GB/s, decimal; limit: every rank reads and writes its own buffer once"

    def _run(self, settings: Settings) -> None:
        from rueda._bench.run import run_cases  # noqa: PLC0415 - after what --help needs

        cases = plan_cases(settings)
        cores = self._report.machine.cores
        self._say(f"{settings.ranks} rank{'s' if settings.ranks > 1 else ''}", before=1)

        def began(case: Case) -> None:
            if self._live:
                print(f"\r\x1b[K... {heading(case, [])}", end="", file=sys.stderr, flush=True)

        def told(case: Case, results: list[Measured]) -> None:
            if self._live:
                print("\r\x1b[K", end="", file=sys.stderr, flush=True)
            rows = rows_of(case, results, settings.ranks, cores)
            self._report.rows += rows
            for variant, result in zip(case.variants, results, strict=True):
                if result.remark:
                    self._report.remark(f"without {variant.label}: {result.remark}")
            print("\n".join(self._table.case(case, rows, results)), flush=True)

        run_cases(settings, cases, began, told)

    def _simulate(self, settings: ControlSettings) -> None:
        from rueda._bench.control_run import row_names, simulate  # noqa: PLC0415 - as above

        table, report = ControlTable(self._columns), self._report
        report.control_settings = settings
        for case, topology, ranks in row_names(settings):
            if self._live:
                text = f"\r\x1b[K... {case}, {topology}, {ranks} ranks"
                print(text, end="", file=sys.stderr, flush=True)
            try:
                report.control.append(simulate(settings, case, topology, ranks))
            except RuntimeError as error:
                raise ValueError(f"{case} with {ranks} ranks: {error}") from error
            finally:
                if self._live:
                    print("\r\x1b[K", end="", file=sys.stderr, flush=True)
            print("\n".join(table.lines(report.control)), flush=True)
        self._say(how_made(settings), before=1)

    def _print_goals(self, judged: Sequence[Verdict]) -> None:
        self._say("goals", before=1)
        last = ""
        for verdict in judged:
            label = f"{verdict.goal:>2} {verdict.what}"
            if label != last:
                self._say(label)
                last = label
            mark = WORDS[verdict.met]
            if self._colour and verdict.met is not None:
                mark = f"\x1b[{32 if verdict.met else 31}m{mark}\x1b[0m"
            self._say(f"{verdict.target}: {verdict.reached}: {mark}", indent="     ")
        met = sum(verdict.met is True for verdict in judged)
        missed = sum(verdict.met is False for verdict in judged)
        rest = len(judged) - met - missed
        self._say(f"{met} met, {missed} not met, {rest} not shown in this run", before=1)

    def _write(self) -> None:
        command, report = self._command, self._report
        if command.json is not None:
            text = json.dumps(as_json(report), indent=1)
            _write_text(command.json, text + "\n")
        if command.markdown is not None:
            _write_text(command.markdown, markdown(report))
        if command.chart is not None:
            self._draw(command.chart, report)

    def _draw(self, path: Path, report: Report) -> None:
        ranks = report.rows[0].ranks if report.rows else 0
        rows = [row for row in report.rows if row.ranks == ranks]
        try:
            write_chart(path, rows, f"{ranks} ranks, {report.machine.processor}")
        except NoChart as error:
            print(f"rueda bench: no chart: {error}", file=sys.stderr)

    def _say(self, text: str, *, before: int = 0, indent: str = "") -> None:
        width = 10_000 if self._columns is None else max(self._columns, 40)
        lines = textwrap.wrap(
            text, width, initial_indent=indent, subsequent_indent=indent + "  " if indent else ""
        )
        print("\n" * before + "\n".join(lines), flush=True)


def _write_text(path: Path, text: str) -> None:
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        # What was measured was printed already; the other files are still written.
        print(f"rueda bench: {path}: {os.strerror(error.errno or 0)}", file=sys.stderr)
