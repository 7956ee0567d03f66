"""Experiment 3: the unsupervised (UFT) baseline. Exp4's search with the objective `clm`: all tokens count."""

from dataclasses import replace

from spaces import exp4
from spaces.experiment import Experiment, Profile
from spaces.paths import replace_all


def experiment(profile: Profile) -> Experiment:
    """Return Experiment 4 with every token in the loss, judged by the same held-out replies."""
    sft = exp4.experiment(profile)
    base = replace_all(sft.base, {"optim.objective": "clm"})
    description = sft.description.replace("supervised fine-tuning (SFT)", "unsupervised fine-tuning (UFT)")
    return replace(sft, name="exp3", description=description, base=base)
