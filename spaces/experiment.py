"""An experiment: what is tried, for how long, and on what.

An experiment is a function that returns one of these values (`spaces.exp4.experiment`); there is no other
configuration language. The search reads it and never writes it.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from optuna.distributions import BaseDistribution

from spaces.promotion import BehaviourConfig, PromotionConfig
from train_fn.config import TrainConfig, check, check_seed

Profile = Literal["cluster", "laptop"]
ParamValue = str | int | float | bool


@dataclass(frozen=True)
class BudgetConfig:
    """How much the search may spend."""

    trials: int = 16
    keep_weights: int = 5
    """Of so many of the best finished trials the weights stay, and of those that are confirmed."""

    def __post_init__(self) -> None:
        keep = self.keep_weights
        check(keep >= 1, "budget.keep_weights", keep, "must be at least 1", "set it to 5")
        check(self.trials >= 1, "budget.trials", self.trials, "must be at least 1", "set it to 16")


@dataclass(frozen=True)
class HalvingConfig:
    """Asynchronous successive halving (Li et al. 2020, arXiv:1810.05934) with tokens seen as its clock."""

    eta: int = 2
    """One trial in `eta` goes on from a rung."""
    spacing: float = 1.7
    """Each rung is at so many times the tokens of the one before. Closer rungs judge more often, and with a
    smaller `eta` each time more mildly; `tests.bench.search_quality` holds 1.7 against 3 in its ablation."""
    first_rung_tokens: int = 10_000
    brackets: int = 1
    """Bracket b starts at rung b: its trials get spacing**b times the first rung before they are judged."""
    noise_band: float = 1.0
    """A trial behind the cutoff, and behind the best of the rung, by at most so many standard errors of the
    paired difference may stay; 0 is plain halving."""
    extra_survivors: float = 0.25
    """Survivors through the noise band, at most this fraction of a rung's arrivals so far, rounded up."""

    def __post_init__(self) -> None:
        check(self.eta >= 2, "halving.eta", self.eta, "must be at least 2", "set it to 2")
        rule = "must be between 1.2 and 10"
        check(1.2 <= self.spacing <= 10, "halving.spacing", self.spacing, rule, "set it to 1.7")
        rung = self.first_rung_tokens
        check(rung >= 1, "halving.first_rung_tokens", rung, "must be at least 1", "set it to 10000")
        check(self.brackets >= 1, "halving.brackets", self.brackets, "must be at least 1", "set it to 1")
        check(self.noise_band >= 0, "halving.noise_band", self.noise_band, "must be 0 or more", "set it to 1")
        extra = self.extra_survivors
        check(0 <= extra <= 1, "halving.extra_survivors", extra, "must be in [0, 1]", "set it to 0.25")


@dataclass(frozen=True)
class ConfirmConfig:
    """The best trials are run again with other seeds, to the end, before one is called the winner."""

    top: int = 2
    """How many of the best finished trials are confirmed; 0 is off."""
    seeds: int = 2
    """Runs of each with a seed of its own, beside the trial itself."""

    def __post_init__(self) -> None:
        check(self.top >= 0, "confirm.top", self.top, "must be 0 (off) or more", "set it to 2")
        fix = "set it to 2, or confirm.top=0 to confirm nothing"
        check(self.seeds >= 1, "confirm.seeds", self.seeds, "must be at least 1", fix)


@dataclass(frozen=True)
class SamplerConfig:
    """How Optuna proposes the next trial."""

    kind: Literal["tpe", "gp", "random"] = "tpe"
    """Optuna's multivariate TPE, which knows no limit of trials; its Gaussian process, which takes a fifth of
    a second for a proposal and needs fewer tokens in searches of some hundred trials; or random values."""
    startup_trials: int = 8
    """Trials that fill the space evenly before the model of the sampler is used; known good points count."""
    seed: int = 0

    def __post_init__(self) -> None:
        rule = "must be one of tpe, gp, random"
        check(self.kind in ("tpe", "gp", "random"), "sampler.kind", self.kind, rule, "set it to tpe")
        startup = self.startup_trials
        check(startup >= 1, "sampler.startup_trials", startup, "must be at least 1", "set it to 8")
        check_seed("sampler.seed", self.seed)


@dataclass(frozen=True)
class ResourcesConfig:
    """What one slot takes, and how many slots there are."""

    slots: int = 0
    """Trials at the same time; 0 takes as many as fit the cluster, which may grow and shrink meanwhile."""
    ranks_per_slot: int = 1
    span_nodes: bool = False
    """Ranks of a slot may lie on several nodes; otherwise a slot takes room on a single one."""
    cpus_per_rank: float = 1.0
    gpus_per_rank: float = 0.0
    accelerator: str = ""
    """Kind of GPU that ranks run on, as Ray names it (`A100`, `H100`, `L4`); empty takes any."""
    gpu_memory_gib: float = 0.0
    """Memory of one GPU, for the plan; 0 asks the machine (and is unknown without one)."""

    def __post_init__(self) -> None:
        check(
            self.slots >= 0,
            "resources.slots",
            self.slots,
            "must be 0 (as many as fit) or more",
            "set it to 0",
        )
        ranks = self.ranks_per_slot
        check(ranks >= 1, "resources.ranks_per_slot", ranks, "must be at least 1", "set it to 1")
        cpus = self.cpus_per_rank
        check(cpus > 0, "resources.cpus_per_rank", cpus, "must be above 0", "set it to 1")
        gpus = self.gpus_per_rank
        check(gpus >= 0, "resources.gpus_per_rank", gpus, "must be 0 or more", "set it to 0 or 1")
        whole = gpus <= 1 or gpus == int(gpus)
        check(whole, "resources.gpus_per_rank", gpus, "must be whole above 1", "set it to 1 or 2")
        kind = self.accelerator
        rule = "names a kind of GPU, and ranks take none (resources.gpus_per_rank = 0)"
        check(not kind or gpus > 0, "resources.accelerator", repr(kind), rule, "leave it empty")


@dataclass(frozen=True)
class TrackingConfig:
    """Where the figures go."""

    uri: str = ""
    """MLflow tracking address; empty is MLFLOW_TRACKING_URI, or else an sqlite file in the storage folder."""


@dataclass(frozen=True)
class Experiment:
    """What to try: the base of every trial, the space around it, the budget and the resources."""

    name: str
    profile: Profile
    description: str
    base: TrainConfig
    space: Mapping[str, BaseDistribution]
    """Dotted path into `TrainConfig` -> what may stand there."""
    known_good: tuple[Mapping[str, ParamValue], ...] = ()
    """Points tried first; paths they do not name are sampled."""
    budget: BudgetConfig = field(default_factory=BudgetConfig)
    halving: HalvingConfig = field(default_factory=HalvingConfig)
    sampler: SamplerConfig = field(default_factory=SamplerConfig)
    confirm: ConfirmConfig = field(default_factory=ConfirmConfig)
    resources: ResourcesConfig = field(default_factory=ResourcesConfig)
    tracking: TrackingConfig = field(default_factory=TrackingConfig)
    behaviour: BehaviourConfig = field(default_factory=BehaviourConfig)
    promotion: PromotionConfig = field(default_factory=PromotionConfig)
