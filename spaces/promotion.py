"""What a model must show before it is promoted, and how its behaviour is measured."""

from dataclasses import dataclass
from typing import Literal

from train_fn.config import check


@dataclass(frozen=True)
class BehaviourConfig:
    """How models are listened to: the sampling settings that the logbooks used by hand, and how much."""

    prompts: int = 32
    """Held-out prompts that every model answers, once sampled and once greedily."""
    max_new_tokens: int = 96
    temperature: float = 0.85
    top_p: float = 0.9
    top_k: int = 40
    repetition_penalty: float = 1.03
    seed: int = 0
    trials: int = 2
    """How many of the best finished trials are listened to, beside the base model."""

    def __post_init__(self) -> None:
        for name, low in (("prompts", 2), ("max_new_tokens", 1), ("top_k", 1), ("trials", 1), ("seed", 0)):
            value = getattr(self, name)
            check(value >= low, f"behaviour.{name}", value, f"must be at least {low}", f"set it to {low}")
        heat, top_p, penalty = self.temperature, self.top_p, self.repetition_penalty
        check(heat > 0, "behaviour.temperature", heat, "must be above 0", "set it to 0.85")
        check(0 < top_p <= 1, "behaviour.top_p", top_p, "must be in (0, 1]", "set it to 0.9")
        check(penalty > 0, "behaviour.repetition_penalty", penalty, "must be above 0", "set it to 1.03")


@dataclass(frozen=True)
class PromotionConfig:
    """The gate: what the best trial must show before its weights are sent anywhere.

    Shares are of the sampled replies. A bound on something that the data cannot show (a persona, where no
    prompt has one) is not asked.
    """

    min_lead_stderrs: float = 2.0
    """Paired standard errors by which the eval NLL must lie below the base model and below the branch."""
    confirming_seeds: int = 2
    """Runs with other seeds that must have finished and lie below the base model as clearly; 0 asks none."""
    min_eval_examples: int = 64
    min_kept_share: float = 0.05
    """Of the replies read, how many the cleaning rules must have left."""
    max_broken_lines: int = 0
    """Lines of the sources that could not be read and were skipped (`data.skip_broken_lines`)."""
    min_length_ratio: float = 0.5
    """Mean length of the replies over that of the references: below it they are short responses."""
    max_length_ratio: float = 2.0
    min_attentiveness: float = 0.0
    """Nats per token by which another prompt makes the true reply less likely; its 95% interval must lie
    above."""
    min_persona_adherence: float = 0.0
    """The same with only the persona exchanged; its 95% interval must not lie below."""
    max_repetition: float = 0.25
    """Mean share of repeated word 4-grams in a reply."""
    max_leaked: float = 0.05
    max_unbalanced: float = 0.1
    max_language_drift: float = 0.1
    min_ended: float = 0.5
    """Share of replies that reach the end token."""
    min_train_minus_eval: float = -0.5
    """Train NLL less eval NLL, in nats per token; far below 0 the model knows its examples by heart."""
    dtype: Literal["auto", "fp16", "bf16", "fp32"] = "auto"
    """Of the weights; auto keeps a half precision and writes fp32 as bf16, which has the same range."""
    adapter: bool = False
    """Send the LoRA adapter alone, without the base model it was trained on."""
    max_shard_gb: float = 5.0
    nll_tolerance: float = 0.02
    """Nats per token by which the eval NLL of the files, read by plain `transformers`, may differ."""

    def __post_init__(self) -> None:
        seeds, shard = self.confirming_seeds, self.max_shard_gb
        check(seeds >= 0, "promotion.confirming_seeds", seeds, "must be 0 (none) or more", "set it to 2")
        check(shard > 0, "promotion.max_shard_gb", shard, "must be above 0", "set it to 5")
        broken = self.max_broken_lines
        check(broken >= 0, "promotion.max_broken_lines", broken, "must be 0 (none) or more", "set it to 0")
        tolerance = self.nll_tolerance
        check(tolerance > 0, "promotion.nll_tolerance", tolerance, "must be above 0", "set it to 0.02")
        known = ("auto", "fp16", "bf16", "fp32")
        rule = f"must be one of {', '.join(known)}"
        check(self.dtype in known, "promotion.dtype", self.dtype, rule, "set it to auto")
