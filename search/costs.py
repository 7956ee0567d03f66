"""What a search costs: tokens, hours of a GPU or a core, disk."""

import random
from dataclasses import dataclass, replace

from search.cluster import Cluster
from search.halving import Halving, rung_tokens
from search.memory import checkpoint_gib, weights_gib
from search.model_shape import ModelShape
from spaces.experiment import ConfirmConfig, HalvingConfig
from train_fn.checkpoint_files import KEPT
from train_fn.config import Precision, TrainConfig
from train_fn.report import Evaluation

UTILISATION = 0.4
"""Of a GPU's peak that training reaches (Chowdhery et al. 2022, arXiv:2204.02311, table 3: 21% to 46%)."""
PEAK_TFLOPS = {
    "H200": 989.0, "H100": 989.0, "A100": 312.0, "L40S": 362.0, "L40": 181.0, "A6000": 155.0, "A40": 150.0,
    "A30": 165.0, "A10": 125.0, "L4": 121.0, "V100": 125.0, "T4": 65.0, "4090": 165.0, "3090": 71.0,
}  # fmt: skip
"""Dense 16-bit peak by a part of the GPU's name, from the vendor's data sheets."""
OTHER_GPU_TFLOPS = 100.0
FP32_SLOWDOWN = 16
"""A100: 312 TFLOP/s in bf16, 19.5 in fp32."""
CPU_CORE_TFLOPS = 0.04
"""Reached by one core on the bundled model: measured, packed, fp32."""


_GAMES = 20
_PLAYED_TRIALS = 1000


@dataclass(frozen=True)
class Tokens:
    """Training tokens of a whole search."""

    at_most: int
    """Every trial to its end, and the runs that confirm the best."""
    expected: int
    """With halving; see `search_tokens`."""
    survivors: tuple[int, ...]
    """Trials expected to go on past each rung."""
    finished: int
    """Trials expected to reach the end."""
    confirming: int = 0
    """Runs that confirm the best of them, each to its end."""
    evaluations: int = 0
    """Expected: at each rung reached, at the end, and of the base model."""
    most_evaluations: int = 0


def search_tokens(trials: int, halving: HalvingConfig, max_tokens: int, confirm: ConfirmConfig) -> Tokens:
    """Estimate the tokens of a search by playing it: the real rules, on trials of random quality.

    Trials come one after the other, keep their place among their peers from rung to rung, and none is spared
    for noise or stopped for diverging. The mean of several games.

    Args:
        trials: Trials of the search.
        halving: Its rules.
        max_tokens: Of a trial that is not stopped.
        confirm: How many runs confirm the best trials.
    """
    quiet, dice = replace(halving, noise_band=0.0), random.Random(0)
    games = max(1, min(_GAMES, _PLAYED_TRIALS // trials))
    spent, survivors, finished = 0, [0] * len(rung_tokens(halving, max_tokens)), 0
    for _ in range(games):
        rules = Halving(quiet, max_tokens)
        for trial in range(trials):
            stop = _stopped_at(rules, trial, dice.random())
            spent += max_tokens if stop is None else rules.rungs[stop]
            finished += stop is None
            for rung in range(rules.bracket_of(trial), len(rules.rungs) if stop is None else stop):
                survivors[rung] += 1
    passed = tuple(round(count / games) for count in survivors)
    again, each = confirm.seeds * min(confirm.top, trials), 1 + len(passed)
    return Tokens(
        at_most=(trials + again) * max_tokens,
        expected=round(spent / games) + again * max_tokens,
        survivors=passed,
        finished=round(finished / games),
        confirming=again,
        evaluations=trials + sum(passed) + again * each + 1,
        most_evaluations=(trials + again) * each + 1,
    )


def _stopped_at(rules: Halving, trial: int, nll: float) -> int | None:
    """Send a trial through its rungs; return the one that stops it."""
    evaluation = Evaluation(nll, 0.0, (nll, nll), (1, 1), 0.0)
    for tokens in rules.rungs:
        decision = rules.decide(trial, tokens, evaluation)
        if decision is not None and not decision.keep:
            return decision.rung
    return None


@dataclass(frozen=True)
class Hours:
    """Computing time, by a stated assumption."""

    device: str
    """`GPU` or `CPU core`."""
    expected: float
    at_most: float
    wall_expected: float
    """With all slots busy, without starting up."""
    assumption: str


def search_hours(
    shape: ModelShape,
    config: TrainConfig,
    tokens: Tokens,
    eval_tokens: float,
    cluster: Cluster,
    precision: Precision,
    busy_devices: float,
    gpu: bool,
) -> Hours:
    """Estimate the computing time of a search.

    A token costs 2 FLOPs per parameter forward and 4 backward (Kaplan et al. 2020, arXiv:2001.08361, section
    2.1); frozen weights save 2, activation checkpointing adds 2. Attention scores are left out.

    Args:
        shape: Of the base model.
        config: Of a trial.
        tokens: Of the search.
        eval_tokens: Tokens of one evaluation.
        cluster: Whose GPUs are meant.
        precision: Of the trials.
        busy_devices: GPUs or cores at work at the same time.
        gpu: Whether ranks train on GPUs.
    """
    per_token = 6 - 2 * (config.model.lora.rank > 0) + 2 * config.model.activation_checkpointing
    tflops, words = _speed(cluster, precision, gpu)

    def hours(train_tokens: float, evaluations: int) -> float:
        per_parameter = per_token * train_tokens + 2 * evaluations * eval_tokens
        return per_parameter * shape.parameters / (tflops * 1e12) / 3600

    expected = hours(tokens.expected, tokens.evaluations)
    return Hours(
        device="GPU" if gpu else "CPU core",
        expected=expected,
        at_most=hours(tokens.at_most, tokens.most_evaluations),
        wall_expected=expected / max(busy_devices, 1.0),
        assumption=f"{per_token} FLOPs per parameter and token, {words}",
    )


def _speed(cluster: Cluster, precision: Precision, gpu: bool) -> tuple[float, str]:
    if not gpu:
        return (
            CPU_CORE_TFLOPS,
            f"{1000 * CPU_CORE_TFLOPS:.0f} GFLOP/s per core as measured on the bundled model",
        )
    named = next((node.gpu_name for node in cluster.nodes if node.gpu_name), "")
    known = next((part for part in PEAK_TFLOPS if part.lower() in named.lower()), None)
    peak = PEAK_TFLOPS[known] if known else OTHER_GPU_TFLOPS
    if precision == "fp32":
        peak /= FP32_SLOWDOWN
    whose = f"the peak of {named}" if known else f"assumed for {named or 'an unknown GPU'}"
    return peak * UTILISATION, f"{UTILISATION:.0%} of {peak:g} TFLOP/s, {whose}"


@dataclass(frozen=True)
class Disk:
    """Room on the storage folder's file system, in GiB."""

    checkpoint_gib: float
    """One of a running trial, which keeps its newest two and may be writing another."""
    weights_gib: float
    """Of one finished trial, or of a run that confirms one."""
    expected_gib: float
    at_most_gib: float
    """When as many trials finish as weights are kept of."""
    free_gib: float
    there_gib: float = 0.0
    """Of that, weights that lie there already."""


def search_disk(
    shape: ModelShape,
    config: TrainConfig,
    precision: Precision,
    trials: int,
    tokens: Tokens,
    slots: int,
    free_gib: float,
    keep: int,
    there: int = 0,
) -> Disk:
    """Estimate the room for checkpoints, kept weights and the shared copy of the base weights.

    While a trial ends its weights stand beside the kept ones.

    Args:
        shape: Of the base model.
        config: Of a trial.
        precision: Of the trials.
        trials: Trials of the search.
        tokens: Of the search.
        slots: Trials at the same time.
        free_gib: Free on the disk.
        keep: Of how many trials the weights stay at most.
        there: Of how many trials they lie there, from an earlier command.
    """
    checkpoint, weights = checkpoint_gib(shape, config, precision), weights_gib(shape, precision)
    running = (KEPT + 1) * slots * checkpoint + weights
    ending = min(slots, trials) * weights
    expected = running + ending + min(keep, max(tokens.finished, there)) * weights
    at_most = running + ending + min(keep, max(trials, there)) * weights
    return Disk(checkpoint, weights, expected, at_most, free_gib, min(keep, there) * weights)
