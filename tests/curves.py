"""Recorded curves of real runs, for judging the rules; data only, not part of the repository."""

import csv
import gzip
import json
import math
import os
import re
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

import pytest

SHARED = Path(__file__).resolve().parents[2] / "shared" / "curves"
TASKSET = ("GRU128_bs128", "IRNN64_relu_avg_bs128")


def path(name: str) -> Path:
    """Return the path of a recording; skip the test, saying why, where there is none."""
    folder = Path(os.environ.get("SFT_SEARCH_CURVES", SHARED))
    if not (folder / name).exists():
        pytest.skip(f"no recorded curves: {name} is not in {folder}; SFT_SEARCH_CURVES names the folder")
    return folder / name


def language_model_losses() -> dict[str, list[float]]:
    """Return the training loss of every tenth step of 15 runs from scratch (cs336, TinyStories)."""
    runs = defaultdict(list)
    with gzip.open(path("cs336_tinystories_lr_bs_sweep.csv.gz"), "rt") as file:
        for row in csv.DictReader(file):
            if row["train_loss"]:
                runs[row["run"]].append(float(row["train_loss"]))
    return dict(runs)


def taskset_losses(task: str) -> list[list[float]]:
    """Return the validation losses of 1,000 runs of 51 evaluations each; NaN where not finite."""
    name = f"taskset_FixedTextRNNClassification_imdb_patch32_{task}.json.gz"
    with gzip.open(path(name), "rt") as file:
        return [[math.nan if x is None else x for x in run["valid"]] for run in json.load(file)]


def fine_tuning_losses() -> dict[str, list[float]]:
    """Return the training losses of 63 fine-tuning runs of 21 points each (peft, MetaMathQA)."""
    with gzip.open(path("peft_metamathqa_llama3.2_3b.json.gz"), "rt") as file:
        return {run["name"]: [m["train loss"] for m in run["metrics"]] for run in json.load(file)}


@dataclass(frozen=True)
class ScaledStep:
    """One step of an fp16 run."""

    scale: float
    overflowed: bool


def fp16_steps() -> list[ScaledStep]:
    """Return the steps of a sound DeepSpeed fp16 run; events are within ten steps of their place."""
    overflow = re.compile(
        r"\[Rank 0\] Overflow detected.*Attempted loss scale: ([\d.]+), reducing to ([\d.]+)"
    )
    rise = re.compile(r"Increasing dynamic loss scale from ([\d.]+) to ([\d.]+)")
    printed = re.compile(r"\[Rank 0\] step=(\d+), skipped=(\d+)")
    steps: list[ScaledStep] = []
    attempts: list[float] = []
    scale = before = 65536.0
    with gzip.open(path("deepspeed_chat_rm_opt350m_fp16.log.gz"), "rt", errors="replace") as file:
        for line in file:
            if found := overflow.search(line):
                attempts.append(float(found[1]))
                scale = float(found[2])
            elif (found := rise.search(line)) and float(found[1]) == scale:  # every rank says so
                scale = float(found[2])
            elif found := printed.search(line):
                sound = int(found[1]) - len(steps) - len(attempts)
                steps += [ScaledStep(before, False)] * sound
                steps += [ScaledStep(attempt, True) for attempt in attempts]
                before, attempts = scale, []
    return steps
