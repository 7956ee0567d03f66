"""A finished search with real weights, made in this process: trained, evaluated and written down without Ray.

The trial and its repeats with other seeds are those of `exp4` on the laptop, shortened.
"""

import time
from dataclasses import replace
from pathlib import Path

from search.data import prepared_data
from search.events import BaselineMeasured, Ended, Event, Reported, SearchEnded, SearchStarted, TrialStarted
from search.ledger import FILE_NAME, Ledger
from spaces.describe import describe, plain_config
from spaces.experiment import Experiment, ParamValue
from spaces.load import load_experiment
from spaces.override import override
from spaces.space import apply
from train_fn.before import evaluate_base
from train_fn.loop import train
from train_fn.model import load_base
from train_fn.report import Report
from train_fn.tokenizer import save_tokenizer

SETTINGS = (
    "data.eval_fraction=0.15",
    "data.max_eval_examples=80",
    "run.max_tokens=9000",
    "run.window_tokens=3000",
    "optim.effective_batch_size=8",
    "optim.warmup_tokens=0",
    "optim.schedule=constant",
    "behaviour.prompts=6",
    "behaviour.max_new_tokens=24",
    "promotion.min_eval_examples=40",
    "promotion.min_ended=0.1",
    "promotion.max_length_ratio=4",
)
LRS = (3e-4, 3e-6)
"""Of trials 0 and 1; the first is better by far."""


def make_search(storage: Path, dialogues: Path, *settings: str, seeds: int = 2) -> Path:
    """Train two trials, and the first again with other seeds; leave what a search leaves.

    Args:
        storage: The storage folder.
        dialogues: A user's JSONL.
        settings: More `path=value` for the experiment.
        seeds: Repeats of trial 0.

    Returns:
        The search's folder.
    """
    laptop = load_experiment("exp4", "laptop")
    experiment = override(laptop, [*SETTINGS, f"data.sources={dialogues}", *settings])
    folder = storage / experiment.name
    prepared = prepared_data(experiment.base, storage)
    ledger = Ledger(folder / FILE_NAME)
    began = time.time()
    ledger.append(SearchStarted(began, describe(experiment), "laptop", prepared.key, "abc123"))
    base = load_base(experiment.base.model)
    before = evaluate_base(base, experiment.base, prepared, storage / "cache")
    ledger.append(BaselineMeasured(time.time(), before))
    runs: list[tuple[dict[str, ParamValue], int | None]] = [({"optim.lr": lr}, None) for lr in LRS]
    runs += [({"optim.lr": LRS[0], "run.seed": seed + 1}, 0) for seed in range(seeds)]
    for number, (params, confirms) in enumerate(runs):
        for event in _train(experiment, storage, number, params, confirms):
            ledger.append(event)
    ledger.append(SearchEnded(time.time(), "finished", time.time() - began))
    ledger.close()
    (folder / "data_report.json").write_bytes((prepared.folder / "report.json").read_bytes())
    return folder


def _train(
    experiment: Experiment, storage: Path, number: int, params: dict[str, ParamValue], confirms: int | None
) -> list[Event]:
    config = apply(experiment.base, params)
    workspace = storage / experiment.name / "trials" / f"{number:04d}"
    started = TrialStarted(time.time(), number, 0, params, plain_config(config), confirms)
    events: list[Event] = [started]

    def emit(report: Report) -> bool:
        events.append(Reported(time.time(), report))
        return True

    prepared = prepared_data(config, storage)
    outcome = train(config, number, prepared, load_base(config.model), workspace, emit, started.time)
    assert outcome is not None
    if outcome.checkpoint is not None:
        save_tokenizer(config.model, Path(outcome.checkpoint))
    events.append(Ended(time.time(), replace(outcome)))
    return events
