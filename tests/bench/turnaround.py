"""What a trial costs beside its training: `python -m tests.bench.turnaround`.

Ours is a search with one slot; theirs is a `TorchTrainer` started for each trial (`tests.bench.nested`). Both
train the same trials one after the other, with the same evaluation, checkpoint and weights. A trial's wall
time is that from the end of the one before it, so it holds all that happens between two trainings; the first
one's begins with the search, when Ray runs. What is left beside the optimizer steps is overhead, evaluation
and weights included.
"""

import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

from search.cli import prepare_environment
from tests.bench.nested import DRIVER_CPUS, Shared, run_trial
from tests.bench.result import print_result, result
from tests.integration.commands import REPOSITORY, SMALL, command_with

TRIALS = 6
GOAL = 0.05
SETTINGS = (
    *(setting for setting in SMALL if not setting.startswith("optim.schedule=")),
    f"budget.trials={TRIALS}",
    "resources.slots=1",
    "optim.lr=0.001",
    "halving.noise_band=1000",
    "halving.extra_survivors=1",
)
"""Only the schedule is searched and the noise band forgives all, so every trial trains to its end."""
Params = dict[str, Any]


def ours(storage: Path) -> tuple[list[float], list[Params]]:
    """Return the overhead of each trial of a search in seconds, and what the trials were."""
    from search.events import Ended, SearchStarted, TrialStarted
    from search.ledger import read_events

    subprocess.run(command_with(storage, SETTINGS), cwd=REPOSITORY, check=True, stdout=subprocess.DEVNULL)
    events = list(read_events(storage / "exp4" / "events.jsonl"))
    ends = [event for event in events if isinstance(event, Ended)]
    assert [end.outcome.status for end in ends] == ["finished"] * TRIALS
    began = next(event.time for event in events if isinstance(event, SearchStarted))
    params = [dict(event.params) for event in events if isinstance(event, TrialStarted)]
    return overheads(began, [(end.time, end.outcome.train_s) for end in ends]), params


def theirs(storage: Path, params: list[Params]) -> list[float]:
    """Return the overhead of each trial in seconds, for the same trials."""
    from ray import tune

    from search.local_ray import connected

    ends: list[tuple[float, float]] = []

    class Ends(tune.Callback):  # type: ignore[misc]
        def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
            ends.append((time.time(), trial.last_result["train_s"]))

    with connected(""):
        tuner = tune.Tuner(
            tune.with_resources(
                tune.with_parameters(_objective, shared=_shared(storage)), {"CPU": DRIVER_CPUS}
            ),
            param_space={"params": tune.grid_search(params)},
            tune_config=tune.TuneConfig(max_concurrent_trials=1),
            run_config=tune.RunConfig(
                name="tune", storage_path=str(storage / "ray"), callbacks=[Ends()], verbose=0
            ),
        )
        began = time.time()
        done = tuner.fit()
    assert done.num_errors == 0, done.errors
    return overheads(began, ends)


def _objective(config: Params, shared: Shared) -> None:
    run_trial(config["params"], shared)


def _shared(storage: Path) -> Shared:
    from search.data import prepared_data
    from search.halving import with_rungs
    from spaces.load import load_experiment
    from spaces.override import override

    experiment = with_rungs(override(load_experiment("exp4", "laptop"), list(SETTINGS)))
    folder = prepared_data(experiment.base, storage).folder
    return Shared(experiment.base, str(folder.resolve()), str(storage / "nested"))


def overheads(began: float, ends: list[tuple[float, float]]) -> list[float]:
    """Return wall time less training time of trials that ran one after the other.

    Args:
        began: When the first one began.
        ends: When each ended, and how long it trained.
    """
    begins = [began, *(end for end, _ in ends)]
    return [end - begin - train_s for begin, (end, train_s) in zip(begins, ends, strict=False)]


def main() -> None:
    """Run both sides, print a row for each trial, and one JSON line last."""
    prepare_environment()
    with tempfile.TemporaryDirectory() as folder:
        storage = Path(folder)
        mine, params = ours(storage)
        other = theirs(storage, params)
    print(f"{'trial':>6} {'slot':>8} {'nested':>8}   seconds beside the training")
    for number, (slot, nested) in enumerate(zip(mine, other, strict=True)):
        print(f"{number:>6} {slot:>8.2f} {nested:>8.2f}")
    print(f"{'all':>6} {sum(mine):>8.2f} {sum(other):>8.2f}   the first trial starts the slot")
    runs = [slot / nested for slot, nested in zip(mine, other, strict=True)]
    print_result(result("turnaround", runs, GOAL, "lower"))


if __name__ == "__main__":
    main()
