"""A search whose leader diverges late: `python -m tests.integration.tempting STORAGE`.

From scratch, two trials at a time: the rate of one rises until it is lost, half-way, and until then it is
ahead of the other, which hardly learns.
"""

import sys
from dataclasses import replace
from pathlib import Path

from search.cli import prepare_environment
from search.session import run_session
from spaces.experiment import Experiment
from spaces.load import load_experiment
from spaces.override import override

SETTINGS = (
    "model.init=random",
    "run.max_tokens=48000",
    "run.window_tokens=2400",
    "optim.warmup_tokens=48000",
    "optim.schedule=constant",
    "optim.effective_batch_size=4",
    "halving.first_rung_tokens=6000",
    "data.max_eval_examples=32",
    "budget.trials=2",
    "confirm.top=1",
    "confirm.seeds=1",
)


def experiment() -> Experiment:
    laptop = override(load_experiment("exp4", "laptop"), list(SETTINGS))
    return replace(laptop, known_good=({"optim.lr": 0.5}, {"optim.lr": 1e-5}))


if __name__ == "__main__":
    prepare_environment()
    sys.exit(run_session(experiment(), Path(sys.argv[1]), ""))
