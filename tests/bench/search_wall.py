"""How long a whole search takes: `python -m tests.bench.search_wall`.

Ours is `python -m search.run exp4` on a laptop. Theirs is the same search put together from the usual parts:
`OptunaSearch`, `ASHAScheduler`, a `TorchTrainer` for each trial (`tests.bench.nested`) and
`MLflowLoggerCallback`. Both have the same space, known good point, number of trials, tokens, rungs, data and
model, and both find the data prepared. Runs that confirm the best with other seeds are left out: the usual
parts have none.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from search.cli import prepare_environment
from search.cluster import local_machine
from spaces.experiment import Experiment
from tests.bench.nested import DRIVER_CPUS, Shared, run_trial
from tests.bench.result import ROUNDS, in_turn, print_result, result
from tests.integration.commands import REPOSITORY, command_with

GOAL = 0.25
ALWAYS = ("confirm.top=0",)
QUICK = ("budget.trials=4", "run.max_tokens=60000")


def ours(storage: Path, settings: Sequence[str]) -> float:
    """Return the wall time of the command, in seconds."""
    began = time.perf_counter()
    subprocess.run(command_with(storage, settings), cwd=REPOSITORY, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - began


def theirs(storage: Path, settings: Sequence[str]) -> float:
    """Return the wall time of a process that runs the search out of the usual parts, in seconds."""
    words = [sys.executable, "-m", "tests.bench.search_wall", "--usual-parts", str(storage), *settings]
    began = time.perf_counter()
    subprocess.run(words, cwd=REPOSITORY, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - began


def search_with_usual_parts(storage: Path, settings: Sequence[str]) -> None:
    """Run the search with Ray's and Optuna's own parts."""
    from ray import tune
    from ray.air.integrations.mlflow import MLflowLoggerCallback
    from ray.tune.schedulers import ASHAScheduler
    from ray.tune.search.optuna import OptunaSearch

    from search.data import prepared_data
    from search.local_ray import connected

    experiment = _experiment(settings)
    base, halving = experiment.base, experiment.halving
    prepared = prepared_data(base, storage)
    shared = Shared(base, str(prepared.folder.resolve()), str(storage / "nested"))
    with connected(""):
        done = tune.Tuner(
            tune.with_resources(tune.with_parameters(run_trial, shared=shared), {"CPU": DRIVER_CPUS}),
            tune_config=tune.TuneConfig(
                search_alg=OptunaSearch(
                    space=dict(experiment.space),
                    metric="eval_nll",
                    mode="min",
                    seed=experiment.sampler.seed,
                    points_to_evaluate=_whole_points(experiment),
                ),
                scheduler=ASHAScheduler(
                    time_attr="tokens_seen",
                    metric="eval_nll",
                    mode="min",
                    max_t=base.run.max_tokens,
                    grace_period=halving.first_rung_tokens,
                    reduction_factor=halving.eta,
                ),
                num_samples=experiment.budget.trials,
                # More would hold CPUs for functions that wait, and leave fewer to train on.
                max_concurrent_trials=int(local_machine().nodes[0].cpus),
            ),
            run_config=tune.RunConfig(
                name="tune",
                storage_path=str(storage / "ray"),
                callbacks=[MLflowLoggerCallback(f"sqlite:///{storage}/mlflow.db", experiment_name="exp4")],
                verbose=0,
            ),
        ).fit()
    assert done.num_errors == 0, done.errors
    assert len(done) == experiment.budget.trials
    for trial in done:
        figures = trial.metrics or {}
        print(figures.get("tokens_seen"), figures.get("eval_nll"), trial.config)


def _experiment(settings: Sequence[str]) -> Experiment:
    from search.halving import with_rungs
    from spaces.load import load_experiment
    from spaces.override import override

    return with_rungs(override(load_experiment("exp4", "laptop"), list(settings)))


def _whole_points(experiment: Experiment) -> list[dict[str, Any]]:
    """Return the known good points with a value for every path, which `OptunaSearch` asks for."""
    from search.study import Study

    with tempfile.TemporaryDirectory() as folder:
        study = Study.open(experiment, Path(folder))
        return [dict(study.ask()[1]) for _ in experiment.known_good]


def main() -> None:
    """Run both sides in turn, print a table, and one JSON line last."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=ROUNDS, metavar="N", help=f"default: {ROUNDS}")
    parser.add_argument("--quick", action="store_true", help="fewer and shorter trials on both sides")
    parser.add_argument("--usual-parts", nargs="+", metavar=("DIR", "SETTING"), help=argparse.SUPPRESS)
    args = parser.parse_args()
    prepare_environment()
    if args.usual_parts:
        # A trial may diverge before its first evaluation; Tune would end the search for that.
        os.environ.setdefault("TUNE_DISABLE_STRICT_METRIC_CHECKING", "1")
        search_with_usual_parts(Path(args.usual_parts[0]), args.usual_parts[1:])
        return
    settings = [*ALWAYS, *(QUICK if args.quick else ())]
    with tempfile.TemporaryDirectory() as folder:
        from search.data import prepared_data

        prepared_data(_experiment(settings).base, Path(folder))
        counts = {"ours": 0, "theirs": 0}

        def storage(side: str) -> Path:
            counts[side] += 1
            own = Path(folder) / f"{side}-{counts[side]}"
            own.mkdir()
            (own / "data").symlink_to(Path(folder) / "data")
            return own

        pairs = in_turn(
            lambda: ours(storage("ours"), settings), lambda: theirs(storage("theirs"), settings), args.rounds
        )
    print(f"{'ours':>8} {'usual parts':>12}   seconds")
    for mine, other in pairs:
        print(f"{mine:>8.1f} {other:>12.1f}")
    print_result(result("search_wall", [mine / other for mine, other in pairs], GOAL, "lower"))


if __name__ == "__main__":
    main()
