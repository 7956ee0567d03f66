"""Experiment 4: the learning rate and effective batch size of supervised fine-tuning on dialogue.

The logbook of 2023-01-14 hunted these two by hand on a 6B model: batch 64, then 4, then 64 at another rate.
"""

from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

from spaces.experiment import (
    BudgetConfig,
    Experiment,
    HalvingConfig,
    Profile,
    ResourcesConfig,
    SamplerConfig,
)
from train_fn.config import DataConfig, EngineConfig, ModelConfig, OptimConfig, RunConfig, TrainConfig

DESCRIPTION = "Learning rate, effective batch size, warm-up and schedule of supervised fine-tuning (SFT)"
"""Model and data stand in the configuration, where `--set` changes them."""
BATCH_SIZES = (4, 8, 16, 32, 64, 128, 256)
SCHEDULES = ("constant", "linear", "cosine")
SAMPLER = SamplerConfig(kind="gp")
"""On a cluster: the Gaussian process needs fewer tokens than TPE (docs/quality.md). The laptop's 16 trials,
half of them evenly spread, end as well with TPE, and its two cores have better to do than fit the process."""


def experiment(profile: Profile) -> Experiment:
    """Return the search of Experiment 4 for a GPU cluster, or its small likeness for a laptop."""
    return _cluster() if profile == "cluster" else _laptop()


def _cluster() -> Experiment:
    max_tokens = 20_000_000
    return Experiment(
        name="exp4",
        profile="cluster",
        description=DESCRIPTION,
        base=TrainConfig(
            model=ModelConfig(path="EleutherAI/gpt-j-6b", activation_checkpointing=True),
            data=DataConfig(max_example_tokens=2048, max_eval_examples=512),
            optim=OptimConfig(lr=1e-6, effective_batch_size=64),
            engine=EngineConfig(zero_stage=2, max_tokens_per_micro_batch=8192),
            run=RunConfig(max_tokens=max_tokens, window_tokens=100_000),
        ),
        space={
            "optim.lr": FloatDistribution(1e-7, 1e-4, log=True),
            "optim.effective_batch_size": CategoricalDistribution(BATCH_SIZES),
            "optim.warmup_tokens": IntDistribution(0, max_tokens // 10),
            "optim.schedule": CategoricalDistribution(SCHEDULES),
        },
        known_good=(
            {"optim.lr": 1e-6, "optim.effective_batch_size": 64},
            {"optim.lr": 5e-6, "optim.effective_batch_size": 32},
            {"optim.lr": 0.98e-5, "optim.effective_batch_size": 256},
        ),
        budget=BudgetConfig(trials=48),
        halving=HalvingConfig(first_rung_tokens=1_000_000),
        sampler=SAMPLER,
        resources=ResourcesConfig(ranks_per_slot=4, cpus_per_rank=4, gpus_per_rank=1),
    )


def _laptop() -> Experiment:
    max_tokens = 120_000  # with four runs to confirm the best, about five minutes on two cores
    return Experiment(
        name="exp4",
        profile="laptop",
        description=DESCRIPTION,
        base=TrainConfig(
            data=DataConfig(max_example_tokens=64, max_context_turns=2, max_eval_examples=128),
            optim=OptimConfig(lr=1e-3, effective_batch_size=16),
            engine=EngineConfig(max_tokens_per_micro_batch=1024),
            # Judged as often as a diverging trial must have been high: `doom.patience` of its tokens.
            run=RunConfig(max_tokens=max_tokens, window_tokens=2_400),
        ),
        space={
            "optim.lr": FloatDistribution(1e-5, 1.0, log=True),
            "optim.effective_batch_size": CategoricalDistribution(BATCH_SIZES),
            "optim.warmup_tokens": IntDistribution(0, max_tokens // 10),
            "optim.schedule": CategoricalDistribution(SCHEDULES),
        },
        known_good=({"optim.lr": 1e-3, "optim.effective_batch_size": 16},),
        budget=BudgetConfig(trials=16),
        # The first rung comes after one step of the largest batch. Each trial that stays to its end trains a
        # fifth of what the whole search does.
        halving=HalvingConfig(first_rung_tokens=13_000, extra_survivors=0.1),
    )
