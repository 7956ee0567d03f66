"""Run a search under a seeded plan of faults, count what was lost: `python -m tests.chaos.soak --minutes 20`.

The command is started again whenever a fault ended it, as a user would. Prints the faults by kind, the
reports that were expected and found, in the ledger and in MLflow, and one JSON line last.
"""

import argparse
import json
import os
import random
import signal
import subprocess
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Collection
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from pathlib import Path

import psutil

from search.data import prepared_data
from search.events import Ended, Reported, TrialStarted
from search.halving import with_rungs
from search.ledger import read_events
from spaces.load import load_experiment
from spaces.override import override
from spaces.space import apply
from tests.chaos.expected import expected_reports
from tests.chaos.faults import ENDS_THE_COMMAND, inject, plan
from tests.chaos.test_tracking_server import free_port, server
from tests.dialogues import write_dialogues
from tests.integration.commands import REPOSITORY, SMALL, command
from tests.unit.search.sent import Sent

PROGRESS_TIMEOUT_S = 180.0
TRACKER_AWAY_S = 3.0
SETTINGS = (
    "data.clean.near_duplicates=false",
    "budget.trials=1000",
    "sampler.kind=random",
    "run.max_tokens=40000",
    "run.window_tokens=1000",
    "run.hang_timeout_s=20",
    "halving.first_rung_tokens=10000",
)


@dataclass
class Tally:
    """What a soak counted."""

    faults: Counter[str] = field(default_factory=Counter)
    commands: int = 0
    trials: int = 0
    failed_trials: int = 0
    reports_expected: int = 0
    reports_found: int = 0
    doubled: int = 0
    lost: int = 0


class Soak:
    """A search that is kept running, and what happens to it.

    Args:
        folder: For all it writes.
        seed: Of the plan of faults.
        ranks: Per slot: with 1 there are two slots without controllers, with 2 one slot with one.
    """

    def __init__(self, folder: Path, seed: int, ranks: int = 1) -> None:
        group = (f"resources.slots={2 // ranks}", f"resources.ranks_per_slot={ranks}")
        self.settings = (*SETTINGS, *group, f"data.sources={write_dialogues(folder / 'mine.jsonl')}")
        self.storage, self.seed = folder / "runs", seed
        self.ledger = self.storage / "exp4" / "events.jsonl"
        self.dice, self.next_fault = random.Random(seed), plan(seed)
        self.tally = Tally()
        self.port, self.log = free_port(), (folder / "command.log").open("ab")
        self.process: subprocess.Popen[bytes] | None = None
        os.environ["MLFLOW_TRACKING_URI"] = f"http://127.0.0.1:{self.port}"

    def run(self, minutes: float, folder: Path, kinds: Collection[str] = ()) -> Tally:
        """Inject faults for so many minutes and until each of these kinds was one; end and count."""
        deadline = time.monotonic() + 60 * minutes

        def over() -> bool:
            return time.monotonic() >= deadline and all(kind in self.tally.faults for kind in kinds)

        while not over():
            with server(folder, self.port):
                self.under_one_server(over)
            time.sleep(TRACKER_AWAY_S)
        with server(folder, self.port):
            self.end()
            self.count()
        return self.tally

    def under_one_server(self, over: Callable[[], bool]) -> None:
        """Inject faults until the tracking server is to die, or all is over."""
        while not over():
            self.keep_running()
            kind = self.next_fault()
            if kind == "tracking":
                self.tally.faults[kind] += 1
                return
            self.wait_for_progress()
            assert self.process is not None
            if inject(kind, psutil.Process(self.process.pid), self.dice):
                self.tally.faults[kind] += 1
                print(f"{time.strftime('%H:%M:%S')} {kind}", flush=True)
            if kind in ENDS_THE_COMMAND:
                self.process.wait(PROGRESS_TIMEOUT_S)

    def keep_running(self) -> None:
        """Start the command if it is not running."""
        if self.process is None or self.process.poll() is not None:
            self.tally.commands += 1
            self.process = subprocess.Popen(
                command(self.storage, *self.settings), cwd=REPOSITORY, stdout=self.log, stderr=self.log
            )

    def wait_for_progress(self) -> None:
        """Wait until two more reports have arrived: whatever was hurt has healed."""
        reports, since = self.reports(), time.monotonic()
        while self.reports() < reports + 2:
            self.keep_running()
            if time.monotonic() - since > PROGRESS_TIMEOUT_S:
                raise SystemExit(f"no report for {PROGRESS_TIMEOUT_S:g} s after {dict(self.tally.faults)}")
            time.sleep(0.2)

    def reports(self) -> int:
        """Count the reports of the ledger."""
        return self.ledger.read_bytes().count(b'"kind":"Reported"') if self.ledger.exists() else 0

    def end(self) -> None:
        """Let the search heal, then stop it as Ctrl-C does."""
        self.wait_for_progress()
        assert self.process is not None
        self.process.send_signal(signal.SIGINT)
        self.process.wait(PROGRESS_TIMEOUT_S)

    def count(self) -> None:
        """Compare every trial that ended with what it must have reported, in the ledger and in MLflow."""
        experiment = with_rungs(override(load_experiment("exp4", "laptop"), [*SMALL, *self.settings]))
        prepared = prepared_data(experiment.base, self.storage)
        events = list(read_events(self.ledger))
        params = {e.trial: dict(e.params) for e in events if isinstance(e, TrialStarted)}
        found: dict[int, list[int]] = {number: [] for number in params}
        for event in events:
            if isinstance(event, Reported):
                found[event.report.trial].append(event.report.tokens_seen)
        ends = {e.outcome.trial: e.outcome for e in events if isinstance(e, Ended)}
        sent, tally = Sent(os.environ["MLFLOW_TRACKING_URI"], "exp4"), self.tally
        for number, outcome in ends.items():
            config = apply(experiment.base, params[number])
            last = max(found[number], default=0) if outcome.status != "finished" else outcome.tokens_seen
            expected = [tokens for tokens in expected_reports(config, prepared) if tokens <= last]
            arrived = sent.steps(f"exp4-{number:04d}", "loss/window")
            tally.trials += 1
            tally.failed_trials += outcome.status == "failed"
            tally.reports_expected += len(expected)
            tally.reports_found += len(set(found[number]) & set(arrived) & set(expected))
            for some in (found[number], arrived):
                tally.doubled += len(some) - len(set(some))
                tally.lost += len(set(expected) - set(some))


def main() -> None:
    """Parse the arguments, soak, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=20.0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--ranks", type=int, choices=(1, 2), default=1, help="per slot; default: 1")
    args = parser.parse_args()
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        tally = Soak(folder, args.seed, args.ranks).run(args.minutes, folder)
    for kind, number in sorted(tally.faults.items()):
        print(f"{kind:<12}{number:>5} faults")
    print(f"{tally.commands} commands, {tally.trials} trials ended, {tally.failed_trials} of them as failed")
    values = {**asdict(tally), "faults": sum(tally.faults.values()), "by_kind": dict(tally.faults)}
    print(json.dumps(values))


if __name__ == "__main__":
    main()
