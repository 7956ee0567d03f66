"""Figures per second into MLflow: `python -m tests.bench.tracking`.

Ours is the tracker, from a ledger that is already written; theirs is `mlflow.log_metric`, one call per
figure, as callbacks do it. Both write into an sqlite file of their own, made before the clock starts.
"""

import os
import tempfile
import time
from pathlib import Path

from search.tracking_uri import ENVIRONMENT, resolve
from tests.bench.result import in_turn, print_result, result

TRIALS, REPORTS, POINTS = 8, 50, 32
ONE_BY_ONE = 1000
GOAL = 30.0


def ours() -> float:
    """Return figures a second, from the first event to the last one in the database."""
    from search.ledger import FILE_NAME, Ledger
    from search.state import SearchState
    from search.tracking import Tracker, updates_of
    from tests.unit.search.recorded import MAX_TOKENS, experiment, long_trial, search_started

    events = [search_started(), *(e for trial in range(TRIALS) for e in long_trial(trial, REPORTS, POINTS))]
    updates, _ = updates_of(SearchState(), events, MAX_TOKENS)
    figures = sum(len(update.figures) for update in updates)
    with tempfile.TemporaryDirectory() as storage:
        folder = Path(storage) / "exp9"
        ledger = Ledger(folder / FILE_NAME)
        tracker = Tracker(resolve("", None, Path(storage)), experiment(), folder)
        ledger.append(events[0])
        tracker.start()
        assert tracker.flush(120)
        for event in events[1:]:
            ledger.append(event)
        del events, updates
        began = time.perf_counter()
        assert tracker.flush(300)
        seconds = time.perf_counter() - began
        tracker.close(10)
        ledger.close()
    return figures / seconds


def theirs() -> float:
    """Return figures a second of `mlflow.log_metric`, figure by figure."""
    import mlflow

    with tempfile.TemporaryDirectory() as storage:
        mlflow.set_tracking_uri(resolve("", None, Path(storage)))
        with mlflow.start_run():
            mlflow.log_metric("loss", 1.0, step=0)
            began = time.perf_counter()
            for step in range(ONE_BY_ONE):
                mlflow.log_metric("loss", 1.0, step=step)
            seconds = time.perf_counter() - began
    return ONE_BY_ONE / seconds


def main() -> None:
    """Run both sides in turn, print a table, and one JSON line last."""
    for name, value in ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    pairs = in_turn(ours, theirs)
    print(f"{'ours':>12} {'one by one':>12}   figures a second")
    for mine, other in pairs:
        print(f"{mine:>12,.0f} {other:>12,.0f}")
    print_result(result("tracking", [mine / other for mine, other in pairs], GOAL, "higher"))


if __name__ == "__main__":
    main()
