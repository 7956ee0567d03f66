"""Experiment 0: pretrain the bundled tiny model, without supervision, on the bundled dialogues.

Made with (see `train_fn.bundled.make`):

    python -m train_fn.bundled.make tokenizer
    python -m search.trial exp0
    python -m train_fn.bundled.make install runs/exp0-trial/<time>/weights

The text is plain: the model has never seen the prompt format of the other experiments, nor a conversation
that they hold out (the split goes by conversation, with the same fraction and seed).
"""

from optuna.distributions import FloatDistribution

from spaces.experiment import ConfirmConfig, Experiment, HalvingConfig, Profile
from train_fn.config import DataConfig, EngineConfig, ModelConfig, OptimConfig, RunConfig, TrainConfig


def experiment(profile: Profile) -> Experiment:
    """Return the pretraining run; both profiles are the same small one."""
    return Experiment(
        name="exp0",
        profile=profile,
        description="Learning rate of unsupervised pretraining",
        base=TrainConfig(
            model=ModelConfig(path="bundled", init="random"),
            data=DataConfig(prompt_format="plain", max_context_turns=6, max_example_tokens=256),
            optim=OptimConfig(
                lr=3e-3,
                effective_batch_size=16,
                objective="clm",
                schedule="cosine",
                final_lr_fraction=0.05,
                warmup_tokens=100_000,
                beta2=0.98,
                weight_decay=0.05,
            ),
            engine=EngineConfig(max_tokens_per_micro_batch=2048),
            run=RunConfig(max_tokens=3_000_000, window_tokens=50_000, eval_at_tokens=(500_000, 1_500_000)),
        ),
        space={"optim.lr": FloatDistribution(5e-4, 1e-2, log=True)},
        halving=HalvingConfig(first_rung_tokens=300_000),
        confirm=ConfirmConfig(top=0),  # one base model is made; no lead over a second has to be sure
    )
