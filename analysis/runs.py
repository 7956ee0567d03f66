"""Read a search back from its folder, as frozen values.

The folder is the border: `events.jsonl` holds one event as JSON per line (a torn last line never happened),
and the tests write it with the search's own code and read it here. Needs nothing but the standard library.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from analysis.records import (
    Attempt,
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
from train_fn.report import Evaluation, Outcome, Report
from train_fn.times import Times, closed
from train_fn.typed import from_plain, load_json
from train_fn.working_copy import shown

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
        raise InputError(f"no search {name!r} in {shown(storage)!r}; {fix}")
    reading = _Reading(name)
    for number, event in _events(ledger):
        try:
            reading.take(event)
        except (KeyError, ValueError) as error:
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
                    yield number, from_plain(dict[str, object], load_json(line))
                except ValueError as error:
                    raise _unreadable(ledger, number, error) from error
    except OSError as error:
        raise InputError(f"cannot read {ledger}: {error.strerror}; make it readable") from error


def _unreadable(ledger: Path, number: int, error: Exception) -> InputError:
    told = f"{type(error).__name__}: {error}"
    return InputError(f"{ledger}, line {number}, is no event that is known here ({told}); restore the file")


@dataclass(frozen=True)
class _SearchStarted:
    """What a command wrote down when it began, beside the time."""

    experiment: dict[str, Any]
    profile: str
    data_key: str
    git_commit: str
    sources: dict[str, str] = field(default_factory=dict)
    code_change_allowed: bool = False

    @property
    def slot_gpus(self) -> float:
        """GPUs of one slot."""
        resources = self.experiment["resources"]
        return float(resources["ranks_per_slot"] * resources["gpus_per_rank"])


@dataclass(frozen=True)
class _TrialStarted:
    """What was written down when a slot took a trial up, beside the time."""

    trial: int
    attempt: int
    params: dict[str, str | int | float | bool]
    config: dict[str, Any]
    confirms: int | None = None
    finishes: int | None = None


class _Trial:
    """A trial while its events are read."""

    def __init__(self, first: "_TrialStarted") -> None:
        self.first = first
        self.status: TrialStatus = "running"
        self.starts: list[float] = []
        self.ends: list[float] = []
        self.gpus: list[float] = []
        self.windows: list[Window] = []
        self.evals: list[Scored] = []
        self.last: Report | Outcome | None = None
        self.outcome: Outcome | None = None
        self.weights_removed = False

    def start(self, time: float, gpus: float) -> None:
        self.stop(time)
        self.starts.append(time)
        self.gpus.append(gpus)
        self.status = "running"

    def stop(self, time: float) -> None:
        if len(self.ends) < len(self.starts):
            self.ends.append(time)

    def report(self, report: Report) -> None:
        """Take a window. One that does not go beyond the last is repeated after a worker's restart."""
        tokens = report.tokens_seen
        if self.status != "running" or (self.windows and tokens <= self.windows[-1].tokens_seen):
            return
        self.windows.append(
            Window(
                tokens_seen=tokens,
                steps=report.steps,
                points=tuple((p.tokens_seen, p.loss, p.ema_90, p.ema_98) for p in report.points),
                overflow_steps=report.overflow_steps,
                spikes=report.spikes,
                trend=report.trend,
                tokens_per_s=report.tokens_per_s,
            )
        )
        if report.eval is not None:
            self.evals.append(Scored(tokens, report.eval))
        self.last = report

    def end(self, time: float, outcome: Outcome) -> None:
        self.stop(time)
        self.status = outcome.status
        self.last = self.outcome = outcome

    def result(self, search: str, last_time: float) -> TrialRecord:
        last, windows = self.last, self.windows
        self.stop(last_time)
        attempts = self._attempts()
        ended = self.outcome if self.status != "running" else None
        nll, stderr = (None, None) if ended is None else (ended.eval_nll, ended.eval_nll_stderr)
        if nll is None and self.evals:  # what was measured before stays known
            nll, stderr = self.evals[-1].evaluation.nll, self.evals[-1].evaluation.stderr
        return TrialRecord(
            search=search,
            number=self.first.trial,
            params=self.first.params,
            config=self.first.config,
            status=self.status,
            reason="" if ended is None else ended.reason,
            attempts=attempts,
            windows=tuple(windows),
            evals=tuple(self.evals),
            tokens_seen=last.tokens_seen if last else 0,
            steps=last.steps if last else 0,
            overflow_steps=last.overflow_steps if last else 0,
            eval_nll=nll,
            eval_nll_stderr=stderr,
            train_s=last.train_s if last else 0.0,
            start_overhead_s=last.start_overhead_s if last else 0.0,
            checkpoint=None if ended is None or self.weights_removed else ended.checkpoint,
            confirms=self.first.confirms,
            finishes=self.first.finishes,
            times=_times(last, attempts if ended is not None else attempts[:-1]),
        )

    def _attempts(self) -> tuple[Attempt, ...]:
        """Return the attempts, together as long as the trial's own account: it counts from the free slot."""
        known = sum(self.ends) - sum(self.starts)
        told = self.last.times.total_s if self.last is not None and self.last.times is not None else 0.0
        ahead_s = max(0.0, told - known) / len(self.starts)
        rows = zip(self.starts, self.ends, self.gpus, strict=True)
        return tuple(Attempt(start, end, gpus, ahead_s) for start, end, gpus in rows)


def _times(last: Report | Outcome | None, attempts: Sequence[Attempt]) -> Times | None:
    """Return a trial's own account; what it lacks of the wall time of attempts that are over is `other`."""
    if last is None or last.times is None:
        return None
    return closed(last.times, sum(attempt.seconds for attempt in attempts))


class _Reading:
    """A search while its events are read, in their order."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.status = ""
        self.started: _SearchStarted | None = None
        self.commands: list[Interval] = []
        self.trials: dict[int, _Trial] = {}
        self.decisions: list[Decision] = []
        self.base: Evaluation | None = None
        self.last_time = 0.0

    def take(self, event: dict[str, object]) -> None:
        kind, time = event.pop("kind"), from_plain(float, event.pop("time"))
        if kind == "SearchStarted":
            for trial in self.trials.values():
                trial.stop(self.last_time)  # a command that crashed has not said so
            self.started, self.status, self.last_time = from_plain(_SearchStarted, event), "running", time
            self.commands.append(Interval(time, time))
            return
        if self.started is None:
            raise ValueError(f"{kind} before the search started")
        self.last_time = max(self.last_time, time)
        self.commands[-1] = Interval(self.commands[-1].start, self.last_time)
        match kind:
            case "BaselineMeasured":
                self.base = from_plain(Evaluation, event["evaluation"])
            case "TrialStarted":
                first = from_plain(_TrialStarted, event)
                self.trials.setdefault(first.trial, _Trial(first)).start(time, self.started.slot_gpus)
            case "Retried":
                pass  # the trial goes on; its outcome says it when it does not
            case "Reported":
                report = from_plain(Report, event["report"])
                self.trials[report.trial].report(report)
            case "Decided":
                self.decisions.append(from_plain(Decision, event["decision"]))
            case "Ended":
                outcome = from_plain(Outcome, event["outcome"])
                self.trials[outcome.trial].end(time, outcome)
            case "WeightsRemoved":
                self.trials[from_plain(int, event["trial"])].weights_removed = True
            case "Paused" | "Resumed":
                pass  # the disk was full for a while: no figure tells of it
            case "SearchEnded":
                self.status = from_plain(str, event["status"])
            case _:
                raise ValueError(f"unknown kind {kind!r}")

    def result(self, folder: Path, data: DataReport | None) -> SearchRecord:
        started = self.started
        assert started is not None, "a search with commands was started"
        return SearchRecord(
            name=self.name,
            folder=folder,
            experiment=started.experiment,
            profile=started.profile,
            status=self.status,
            data_key=started.data_key,
            git_commit=started.git_commit,
            commands=tuple(self.commands),
            trials=tuple(t.result(self.name, self.last_time) for _, t in sorted(self.trials.items())),
            decisions=tuple(self.decisions),
            base=self.base,
            data_report=data,
        )
