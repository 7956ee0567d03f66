"""A whole trial without Ray, and how fast it trained."""

import tempfile
import time
from pathlib import Path

import numpy as np

from spaces import exp4
from spaces.paths import replace_all
from tests.bench.job import Job, Pace
from tests.bench.mixes import LONGEST, Data, Picked
from train_fn.batches import Order
from train_fn.config import TrainConfig
from train_fn.loop import train
from train_fn.model import BaseModel, load_base
from train_fn.prepared import open_prepared

HELD_OUT = 2
"""Examples of the evaluation that ends every trial; it is not timed."""


def ours(job: Job) -> Pace:
    """Train a job with the settings of `exp4` on a laptop."""
    prepared = open_prepared(job.prepared)
    config = replace_all(
        exp4.experiment("laptop").base,
        {"data.max_example_tokens": LONGEST, "optim.effective_batch_size": job.batch},
    )
    data = Data(Picked(prepared.train, np.array(job.numbers)), Picked(prepared.eval, np.arange(HELD_OUT)))
    return trained(config, load_base(config.model), data, job.warmup)


def trained(config: TrainConfig, base: BaseModel, data: Data, warmup: int) -> Pace:
    """Train one pass over the examples and return the pace of all steps after the first `warmup` ones.

    Args:
        config: The trial; its length is set here.
        base: The base model.
        data: The examples, a whole number of steps.
        warmup: Steps that are not timed.
    """
    batch, tokens = config.optim.effective_batch_size, int(data.train.lengths.sum())
    steps = len(data.train) // batch
    window = min(tokens, config.run.window_tokens)
    config = replace_all(config, {"run.max_tokens": tokens, "run.window_tokens": window})
    before = Order(data.train.sources, (), config.run.seed).take(0, warmup * batch)
    began = ended = 0.0

    def watch(behind: int, place: int | None) -> None:
        nonlocal began, ended
        ended = time.process_time()  # last at the end of the last window, before its evaluation
        if behind == warmup and place is not None:
            began = ended

    with tempfile.TemporaryDirectory() as folder:
        outcome = train(config, 0, data, base, Path(folder), lambda _: True, time.time(), watch=watch)
    assert outcome is not None
    assert outcome.status == "finished", outcome.reason
    assert outcome.steps == steps, "the examples are one epoch"
    return Pace(tokens - int(data.train.lengths[before].sum()), ended - began)
