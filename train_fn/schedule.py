"""The learning rate as a function of tokens seen."""

import math

from train_fn.config import OptimConfig


def learning_rate(optim: OptimConfig, max_tokens: int, tokens_before: int, tokens_after: int) -> float:
    """Return the learning rate of the step that takes the trial from `tokens_before` to `tokens_after`.

    Warmup rises linearly and is read at the step's end, so that no step runs at rate zero; the decay runs
    from the end of the warmup to `max_tokens` and is read at the step's beginning, so that the last step
    still moves. `cosine` is half a period without restarts (Loshchilov and Hutter 2017, arXiv:1608.03983).
    """
    warmup = optim.warmup_tokens
    if tokens_after < warmup:
        return optim.lr * tokens_after / warmup
    done = min(max(tokens_before - warmup, 0) / max(max_tokens - warmup, 1), 1.0)
    final = optim.final_lr_fraction
    if optim.schedule == "constant":
        return optim.lr
    if optim.schedule == "linear":
        return optim.lr * (1 - (1 - final) * done)
    return optim.lr * (final + (1 - final) * (1 + math.cos(math.pi * done)) / 2)
