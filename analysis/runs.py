"""Read a search back from its folder, as frozen values.

The folder is the border: `events.jsonl` holds one event as JSON per line (a torn last line never happened),
and the tests write it with the search's own code and read it here. Needs nothing but the standard library.
"""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from analysis.records import (
    Decision,
    Interval,
    Scored,
    SearchRecord,
    TrialRecord,
    TrialStatus,
    Window,
)
from train_fn.data_report import DataReport, read_report
from train_fn.errors import InputError
from train_fn.report import Evaluation, evaluation_from_json

LEDGER_NAME = "events.jsonl"
DATA_REPORT_NAME = "data_report.json"


def read_search(storage: Path, name: str) -> SearchRecord:
    """Read the search `name` from its folder below `storage`.

    Raises:
        InputError: There is no such search, its ledger cannot be read, or nothing has happened in it yet.
    """
    folder = storage / name
    ledger = folder / LEDGER_NAME
    if not ledger.is_file():
        there = sorted(path.parent.name for path in storage.glob(f"*/{LEDGER_NAME}"))
        known = f"it holds {', '.join(there)}" if there else "it holds none"
        fix = f"{known}; run `python -m search.run {name}`, or give --storage the folder it was run with"
        raise InputError(f"no search {name!r} in {str(storage)!r}; {fix}")
    reading = _Reading(name)
    for number, event in _events(ledger):
        try:
            reading.take(event)
        except (KeyError, TypeError, ValueError) as error:
            raise _unreadable(ledger, number, error) from error
    if not reading.commands:
        raise InputError(f"search {name!r} has not begun yet: {ledger} is empty; wait for it")
    data = folder / DATA_REPORT_NAME
    return reading.result(folder, read_report(data) if data.is_file() else None)


def _events(ledger: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield line number and event of each whole line."""
    try:
        with ledger.open("rb") as file:
            for number, line in enumerate(file, 1):
                if not line.endswith(b"\n"):
                    return
                try:
                    yield number, json.loads(line)
                except ValueError as error:
                    raise _unreadable(ledger, number, error) from error
    except OSError as error:
        raise InputError(f"cannot read {ledger}: {error.strerror}; make it readable") from error


def _unreadable(ledger: Path, number: int, error: Exception) -> InputError:
    told = f"{type(error).__name__}: {error}"
    return InputError(f"{ledger}, line {number}, is no event that is known here ({told}); restore the file")


class _Trial:
    """A trial while its events are read."""

    def __init__(self, event: Mapping[str, Any]) -> None:
        self.first = event
        self.status: TrialStatus = "running"
        self.starts: list[float] = []
        self.ends: list[float] = []
        self.windows: list[Window] = []
        self.evals: list[Scored] = []
        self.last: dict[str, Any] = {}
        """The last report, or the outcome."""

    def start(self, time: float) -> None:
        self.stop(time)
        self.starts.append(time)
        self.status = "running"

    def stop(self, time: float) -> None:
        if len(self.ends) < len(self.starts):
            self.ends.append(time)

    def report(self, report: dict[str, Any]) -> None:
        """Take a window. One that does not go beyond the last is repeated after a worker's restart."""
        if self.status != "running" or (
            self.windows and report["tokens_seen"] <= self.windows[-1].tokens_seen
        ):
            return
        tokens = report["tokens_seen"]
        self.windows.append(
            Window(
                tokens_seen=tokens,
                steps=report["steps"],
                points=tuple((p[0], p[1], p[2], p[3]) for p in report["points"]),
                overflow_steps=report["overflow_steps"],
                spikes=report["spikes"],
                trend=report["trend"],
                tokens_per_s=report["tokens_per_s"],
            )
        )
        if report["eval"] is not None:
            self.evals.append(Scored(tokens, evaluation_from_json(report["eval"])))
        self.last = report

    def end(self, time: float, outcome: dict[str, Any]) -> None:
        self.stop(time)
        self.status = outcome["status"]
        self.last = outcome

    def result(self, search: str, last_time: float) -> TrialRecord:
        last, windows = self.last, self.windows
        self.stop(last_time)
        ended = self.status != "running"
        nll, stderr = (last["eval_nll"], last["eval_nll_stderr"]) if ended else (None, None)
        if nll is None and self.evals:  # what was measured before stays known
            nll, stderr = self.evals[-1].evaluation.nll, self.evals[-1].evaluation.stderr
        return TrialRecord(
            search=search,
            number=self.first["trial"],
            params=self.first["params"],
            config=self.first["config"],
            status=self.status,
            reason=last["reason"] if ended else "",
            attempts=tuple(map(Interval, self.starts, self.ends)),
            windows=tuple(windows),
            evals=tuple(self.evals),
            tokens_seen=last["tokens_seen"] if last else 0,
            steps=last["steps"] if last else 0,
            overflow_steps=last["overflow_steps"] if last else 0,
            eval_nll=nll,
            eval_nll_stderr=stderr,
            train_s=last["train_s"] if last else 0.0,
            start_overhead_s=last["start_overhead_s"] if last else 0.0,
            checkpoint=last["checkpoint"] if ended else None,
            confirms=self.first.get("confirms"),  # ledgers from before there were such runs lack it
        )


class _Reading:
    """A search while its events are read, in their order."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.status = ""
        self.started: dict[str, Any] = {}
        self.commands: list[Interval] = []
        self.trials: dict[int, _Trial] = {}
        self.decisions: list[Decision] = []
        self.base: Evaluation | None = None
        self.last_time = 0.0

    def take(self, event: dict[str, Any]) -> None:
        kind, time = event["kind"], float(event["time"])
        if kind == "SearchStarted":
            for trial in self.trials.values():
                trial.stop(self.last_time)  # a command that crashed has not said so
            self.started, self.status, self.last_time = event, "running", time
            self.commands.append(Interval(time, time))
            return
        self.last_time = max(self.last_time, time)
        self.commands[-1] = Interval(self.commands[-1].start, self.last_time)
        match kind:
            case "BaselineMeasured":
                self.base = evaluation_from_json(event["evaluation"])
            case "TrialStarted":
                self.trials.setdefault(event["trial"], _Trial(event)).start(time)
            case "Retried":
                pass  # the trial goes on; its outcome says it when it does not
            case "Reported":
                self.trials[event["report"]["trial"]].report(event["report"])
            case "Decided":
                self.decisions.append(Decision(**event["decision"]))
            case "Ended":
                self.trials[event["outcome"]["trial"]].end(time, event["outcome"])
            case "SearchEnded":
                self.status = event["status"]
            case _:
                raise ValueError(f"unknown kind {kind!r}")

    def result(self, folder: Path, data: DataReport | None) -> SearchRecord:
        return SearchRecord(
            name=self.name,
            folder=folder,
            experiment=self.started["experiment"],
            profile=self.started["profile"],
            status=self.status,
            data_key=self.started["data_key"],
            git_commit=self.started["git_commit"],
            commands=tuple(self.commands),
            trials=tuple(t.result(self.name, self.last_time) for _, t in sorted(self.trials.items())),
            decisions=tuple(self.decisions),
            base=self.base,
            data_report=data,
        )
