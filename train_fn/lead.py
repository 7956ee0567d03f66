"""By how much one eval NLL lies below another, and whether that is more than noise."""

from dataclasses import dataclass

from train_fn.paired import paired_difference
from train_fn.report import Evaluation

CLEAR_STDERRS = 2.0
"""A lead of so many of its standard errors is called more than noise: one in 40 for two equal trials."""


@dataclass(frozen=True)
class Lead:
    """By how much one eval NLL lies below another, in nats per token; negative where it lies above."""

    nll: float
    stderr: float
    """From differences by example: what makes examples hard for both has cancelled."""
    at_tokens: int | None = None
    """After how many tokens, where that is not the end of both trials."""

    @property
    def beyond_noise(self) -> bool:
        """Whether the difference exceeds its noise, to whichever side."""
        return self.nll != 0 and abs(self.nll) >= CLEAR_STDERRS * self.stderr

    @property
    def clear(self) -> bool:
        """Whether it is a lead, and exceeds its noise."""
        return self.nll > 0 and self.beyond_noise

    @property
    def noise_text(self) -> str:
        """How large the difference is, to whichever side."""
        return "more than noise" if self.beyond_noise else "within noise"

    @property
    def verdict(self) -> str:
        """How sure the lead is; the best of a tie, or after fewer tokens, may as well lie behind."""
        if self.nll > 0:
            return self.noise_text
        return "behind by more than noise" if self.beyond_noise else "no lead"


def paired_lead(better: Evaluation, worse: Evaluation, at_tokens: int | None = None) -> Lead:
    """Return by how much `better` lies below `worse` on the same examples, with its paired standard error."""
    return Lead(*paired_difference(worse, better), at_tokens)
