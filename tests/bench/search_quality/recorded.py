"""Recorded sweeps as tasks; `tests/curves.py` says where the recordings are."""

import csv
import gzip
import json
import math
from collections import defaultdict
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

import numpy as np
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution

from tests.bench.search_quality.race import Params, Task
from tests.bench.search_quality.tables import Array, table
from tests.curves import TASKSET

MakeTask = Callable[[int], Task]


def recorded(folder: Path) -> Iterator[MakeTask]:
    """Yield the recorded tasks; they are the same for every seed."""
    for name in TASKSET:
        for noise in (0.0, 0.1):
            yield lambda _, name=name, noise=noise: taskset(folder, name, noise)
    yield lambda _: language_model(folder)
    yield lambda _: fine_tuning(folder)


@cache
def taskset(folder: Path, name: str, noise: float) -> Task:
    """Return a TaskSet task: 1,000 settings of an optimizer, 50 evaluations each and one before training.

    The settings were drawn from ranges that the recording does not name, so each value is told as its place
    among the values of all rows, from 0 to 1.
    """
    file = f"taskset_FixedTextRNNClassification_imdb_patch32_{name}.json.gz"
    with gzip.open(folder / file, "rt") as text:
        runs = json.load(text)
    names = list(runs[0]["hp"])
    values = np.array([[run["hp"][n] for n in names] for run in runs])
    places = values.argsort(axis=0).argsort(axis=0) / (len(runs) - 1)
    rows: list[Params] = [dict(zip(names, map(float, place), strict=True)) for place in places]
    curves = np.array([[math.nan if x is None else x for x in run["valid"][1:]] for run in runs])
    space: dict[str, BaseDistribution] = {n: FloatDistribution(0, 1) for n in names}
    told = "clean" if noise == 0 else f"{noise:.0%} noise"
    return table(f"TaskSet {name.split('_')[0]} {told}", "taskset", space, rows, curves, noise, 1_000, 8_000)


@cache
def language_model(folder: Path) -> Task:
    """Return the sweep of learning rate and batch size from scratch: 15 runs of 50 evaluations each."""
    runs = defaultdict(list)
    with gzip.open(folder / "cs336_tinystories_lr_bs_sweep.csv.gz", "rt") as text:
        for row in csv.DictReader(text):
            if row["val_loss"]:
                runs[row["run"]].append(row)
    rows: list[Params] = [
        {"lr": float(run[0]["peak_lr"]), "batch": float(run[0]["batch_size"])} for run in runs.values()
    ]
    curves = np.array([_resampled(run, 50) for run in runs.values()])
    space: dict[str, BaseDistribution] = {
        "lr": FloatDistribution(1e-4, 1.0, log=True),
        "batch": FloatDistribution(1, 32, log=True),
    }
    return table("language model, LR and batch", "recorded", space, rows, curves, 0.0, 200, 2_000)


def _resampled(run: list[dict[str, str]], units: int) -> Array:
    """Return the validation loss at even shares of the run's own length: all saw the same tokens."""
    share = [float(row["step"]) / float(row["max_iters"]) for row in run]
    losses = [float(row["val_loss"]) for row in run]
    return np.interp(np.arange(1, units + 1) / units, share, losses)


@cache
def fine_tuning(folder: Path) -> Task:
    """Return the sweep of fine-tuning methods: 63 runs, judged by the training loss of a window."""
    with gzip.open(folder / "peft_metamathqa_llama3.2_3b.json.gz", "rt") as text:
        runs = json.load(text)
    methods = [run["name"].split("--")[0] for run in runs]
    rows: list[Params] = [
        {"lr": float(run["lr"]), "method": method} for run, method in zip(runs, methods, strict=True)
    ]
    curves = np.array([[point["train loss"] for point in run["metrics"]][:20] for run in runs])
    space: dict[str, BaseDistribution] = {
        "lr": FloatDistribution(1e-5, 0.3, log=True),
        "method": CategoricalDistribution(tuple(sorted(set(methods)))),
    }
    return table("fine-tuning methods", "recorded", space, rows, curves, 0.0, 200, 2_000)
