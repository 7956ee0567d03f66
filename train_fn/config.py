"""The complete configuration of one trial.

Every field has a value when a trial starts: nothing below this module looks up a default. The classes are
plain frozen dataclasses, so `dataclasses.asdict` writes them and `spaces.override` changes them.
"""

from dataclasses import dataclass, field
from typing import Literal

from train_fn.address import held_secret, refused
from train_fn.doom import DoomConfig
from train_fn.errors import InputError
from train_fn.surrogates import half_pair

Objective = Literal["response", "clm", "balanced"]
Precision = Literal["auto", "fp16", "bf16", "fp32"]
PromptFormat = Literal["plain", "pygmalion", "chat_template"]
Schedule = Literal["constant", "linear", "cosine"]
SEEDS = 2**32
"""Seeds are below this: numpy's older generators, and so Optuna's samplers, take no others."""
_WITHOUT_SECRET = (
    "give the address alone, with credentials from the environment, such as AWS_ACCESS_KEY_ID or what fsspec "
    "reads (FSSPEC_HTTPS, ~/.config/fsspec), or download the file"
)


def check(ok: bool, path: str, value: object, rule: str, fix: str) -> None:
    """Raise a one-line `InputError` unless `ok`.

    Args:
        ok: Whether the rule holds.
        path: Where the value stands, as `--set` spells it.
        value: The value found.
        rule: What is required, as the end of a sentence ("must be above 0").
        fix: What to do about it.
    """
    if not ok:
        raise InputError(f"{path} = {value!r} {rule}; {fix}")


def check_seed(path: str, seed: int) -> None:
    """Raise a one-line `InputError` unless a seed is one."""
    check(0 <= seed < SEEDS, path, seed, f"must be at least 0 and below {SEEDS}", "set it to 0")


@dataclass(frozen=True)
class LoraConfig:
    """Low-rank adaptation (Hu et al. 2021, arXiv:2106.09685); rank 0 trains all weights."""

    rank: int = 0
    alpha: float = 16.0
    dropout: float = 0.0
    targets: tuple[str, ...] = ()
    """Module names to adapt; empty leaves the choice to peft's table for the architecture."""

    def __post_init__(self) -> None:
        check(self.rank >= 0, "model.lora.rank", self.rank, "must be 0 (off) or more", "set it to 8 or 0")
        check(0 <= self.dropout < 1, "model.lora.dropout", self.dropout, "must be in [0, 1)", "set it to 0")


@dataclass(frozen=True)
class ModelConfig:
    """The base model."""

    path: str = "bundled"
    """`bundled` (the tiny model in this package), a folder, or a Hub id."""
    gguf_file: str = ""
    """Name of a GGUF file inside `path`; empty for safetensors."""
    init: Literal["pretrained", "random"] = "pretrained"
    activation_checkpointing: bool = False
    lora: LoraConfig = field(default_factory=LoraConfig)


@dataclass(frozen=True)
class CleanConfig:
    """Cleaning rules. Each one is switched off by the value given in its comment."""

    over_length: bool = True  # False: an over-length example is an error, never cut silently
    languages: tuple[str, ...] = ("en",)  # () is off; ISO 639-1 codes that may stay
    language_min_chars: int = 20  # shorter texts are not judged: detectors guess there
    language_min_score: float = 0.5  # a detection below this score drops nothing
    max_repeat: int = 6  # 0 is off; the same character or punctuation run may be this long
    markers: tuple[str, ...] = ("END_OF_DIALOG", "START:text_remaining:")  # () is off
    exact_duplicates: bool = True
    near_duplicates: bool = True
    near_duplicate_jaccard: float = 0.85
    min_reply_chars: int = 1  # 0 is off
    min_median_reply_chars: int = 0  # 0 is off; median over the replies of a conversation
    unbalanced: bool = True  # odd number of `*` or `"`
    end_token: str = ""  # "" is off; replies that do not end in this text were cut off at collection

    def __post_init__(self) -> None:
        check(
            0.3 <= self.near_duplicate_jaccard <= 1,
            "data.clean.near_duplicate_jaccard",
            self.near_duplicate_jaccard,
            "must be in [0.3, 1]: texts less alike share a phrase",
            "set it to 0.85, or data.clean.near_duplicates=false",
        )
        for name in ("max_repeat", "min_reply_chars", "min_median_reply_chars", "language_min_chars"):
            value = getattr(self, name)
            check(value >= 0, f"data.clean.{name}", value, "must be 0 (off) or more", "set it to 0")


@dataclass(frozen=True)
class DataConfig:
    """Where the dialogues come from and how they become examples."""

    sources: tuple[str, ...] = ("bundled:chitchat", "bundled:chatterbot")
    """Local paths, anything fsspec opens, `hub:owner/name`, or `bundled:` names."""
    weights: tuple[float, ...] = ()
    """How often an epoch takes each source; empty is once each."""
    hub_split: str = "train"
    prompt_format: PromptFormat = "pygmalion"
    max_example_tokens: int = 512
    max_context_turns: int = 0
    """Turns before a reply that its prompt holds; 0 keeps all. Only whole turns are left out."""
    eval_fraction: float = 0.05
    max_eval_examples: int = 256
    split_seed: int = 0
    skip_broken_lines: bool = False
    clean: CleanConfig = field(default_factory=CleanConfig)

    def __post_init__(self) -> None:
        check(bool(self.sources), "data.sources", self.sources, "is empty", "name at least one file")
        for source in self.sources:
            held = held_secret(source)
            check(not held, "data.sources", refused(source), f"holds {held}", _WITHOUT_SECRET)
        ok = not self.weights or (len(self.weights) == len(self.sources) and min(self.weights) > 0)
        rule = f"must be empty or hold one number above 0 for each of the {len(self.sources)} sources"
        check(ok, "data.weights", self.weights, rule, "give as many weights as sources")
        rule = "must be between 0 and 0.5, both excluded: trials are compared on held-out examples"
        check(0 < self.eval_fraction < 0.5, "data.eval_fraction", self.eval_fraction, rule, "set it to 0.05")
        for name, low in (("max_example_tokens", 8), ("max_eval_examples", 2), ("max_context_turns", 0)):
            value = getattr(self, name)
            check(value >= low, f"data.{name}", value, f"must be at least {low}", f"set it to {low} or more")
        ok = not half_pair("".join(self.sources))  # examples are known by them
        check(ok, "data.sources", self.sources, "has a name that is no UTF-8", "rename the file")


@dataclass(frozen=True)
class OptimConfig:
    """AdamW (Loshchilov and Hutter 2019, arXiv:1711.05101), its schedule, and the objective."""

    lr: float = 1e-5
    effective_batch_size: int = 64
    """Examples per optimizer step, over all ranks and micro-batches."""
    objective: Objective = "response"
    schedule: Schedule = "constant"
    warmup_tokens: int = 0
    final_lr_fraction: float = 0.0
    """Where `linear` and `cosine` end, as a fraction of `lr`."""
    beta1: float = 0.9
    beta2: float = 0.999
    eps: float = 1e-8
    weight_decay: float = 0.0
    clip_norm: float = 1.0
    """Largest gradient norm; 0 is off."""

    def __post_init__(self) -> None:
        check(0 < self.lr <= 100, "optim.lr", self.lr, "must be above 0 and at most 100", "try 1e-5")
        batch = self.effective_batch_size
        check(batch >= 1, "optim.effective_batch_size", batch, "must be at least 1", "try 64")
        for name in ("warmup_tokens", "weight_decay", "clip_norm", "final_lr_fraction"):
            value = getattr(self, name)
            check(value >= 0, f"optim.{name}", value, "must be 0 or more", "set it to 0")
        for name in ("beta1", "beta2"):
            value = getattr(self, name)
            check(0 <= value < 1, f"optim.{name}", value, "must be in [0, 1)", "set it to 0.9")
        check(self.eps > 0, "optim.eps", self.eps, "must be above 0", "set it to 1e-8")


@dataclass(frozen=True)
class EngineConfig:
    """How DeepSpeed runs the step. None of this changes what a step means."""

    precision: Precision = "auto"
    zero_stage: int = 0
    offload_optimizer: bool = False
    overlap_comm: bool = False
    """Gradients are reduced while the backward pass goes on, on GPUs; ZeRO-3 always does so."""
    compile: bool = False
    """`torch.compile` for the layers: the first steps of a slot take longer, the others less time, if any."""
    max_tokens_per_micro_batch: int = 4096
    initial_scale_power: int = 16
    """fp16 starts with a loss scale of 2 to this power."""
    loss_scale_window: int = 100
    hysteresis: int = 2
    min_loss_scale: float = 1.0

    def __post_init__(self) -> None:
        stage = self.zero_stage
        check(stage in (0, 1, 2, 3), "engine.zero_stage", stage, "must be 0, 1, 2 or 3", "set it to 1")
        whole = not self.compile or stage < 3
        check(whole, "engine.compile", True, "needs whole weights, and ZeRO-3 has none", "set it to false")
        tokens = self.max_tokens_per_micro_batch
        check(tokens >= 8, "engine.max_tokens_per_micro_batch", tokens, "must be at least 8", "try 4096")
        power = self.initial_scale_power
        check(0 <= power <= 32, "engine.initial_scale_power", power, "must be in 0 to 32", "try 16")
        for name in ("loss_scale_window", "hysteresis"):
            value = getattr(self, name)
            check(value >= 1, f"engine.{name}", value, "must be at least 1", "set it to 2")


@dataclass(frozen=True)
class RunConfig:
    """How long the trial runs and when it speaks. The clock is tokens seen."""

    seed: int = 0
    max_tokens: int = 100_000
    window_tokens: int = 5_000
    """A report covers the optimizer steps that started within this many tokens."""
    eval_at_tokens: tuple[int, ...] = ()
    """Evaluate at the first step boundary at or past each of these, and always at the end."""
    hang_timeout_s: float = 600.0
    """A worker group that makes no progress is ended within this time: looked for from four fifths of it on,
    so that the stacks of all ranks are written before. No single optimizer step may take that long."""
    max_lost_minutes: float = 10.0
    """Training time that a failure may cost, by checkpoints at window borders; no number depends on it."""
    mtbf_hours: float = 24.0
    """Mean time between failures of a trial's processes. Hardware alone fails less often: one GPU every
    50,700 hours (Grattafiori et al. 2024, arXiv:2407.21783, section 3.3.4: 419 failures of 16,384 GPUs in 54
    days). A shared or preemptible machine loses a process about once a day; no number depends on it."""

    def __post_init__(self) -> None:
        for name in ("max_lost_minutes", "mtbf_hours"):
            value = getattr(self, name)
            default = getattr(RunConfig, name)
            check(value > 0, f"run.{name}", value, "must be above 0", f"its default is {default:g}")
        check_seed("run.seed", self.seed)
        check(self.max_tokens >= 1, "run.max_tokens", self.max_tokens, "must be at least 1", "try 100000")
        rule = f"must be between 1 and run.max_tokens = {self.max_tokens}"
        check(
            1 <= self.window_tokens <= self.max_tokens,
            "run.window_tokens",
            self.window_tokens,
            rule,
            "lower it",
        )
        hang, rule = self.hang_timeout_s, "must be at least 5 seconds, several heartbeats"
        check(hang >= 5, "run.hang_timeout_s", hang, rule, "set it to 600")
        rising = list(self.eval_at_tokens) == sorted(set(self.eval_at_tokens))
        rule = "must rise and lie within 1 and run.max_tokens"
        inside = all(1 <= t <= self.max_tokens for t in self.eval_at_tokens)
        check(rising and inside, "run.eval_at_tokens", self.eval_at_tokens, rule, "leave it to the search")


@dataclass(frozen=True)
class TrainConfig:
    """One trial, complete."""

    model: ModelConfig = field(default_factory=ModelConfig)
    data: DataConfig = field(default_factory=DataConfig)
    optim: OptimConfig = field(default_factory=OptimConfig)
    engine: EngineConfig = field(default_factory=EngineConfig)
    run: RunConfig = field(default_factory=RunConfig)
    doom: DoomConfig = field(default_factory=DoomConfig)

    def __post_init__(self) -> None:
        warmup, most = self.optim.warmup_tokens, self.run.max_tokens
        rule = f"must not exceed run.max_tokens = {most}"
        check(warmup <= most, "optim.warmup_tokens", warmup, rule, "lower it, or train longer")
        longest, micro = self.data.max_example_tokens, self.engine.max_tokens_per_micro_batch
        rule = f"must not exceed engine.max_tokens_per_micro_batch = {micro}: an example is never split"
        check(
            longest <= micro, "data.max_example_tokens", longest, rule, "lower it, or raise the micro-batch"
        )
