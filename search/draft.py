"""What a search would do, computed before anything starts. `search.refusals` judges whether it can work."""

import itertools
import math
import shutil
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

from optuna.distributions import BaseDistribution, CategoricalDistribution

from search.cluster import GIB, Cluster
from search.costs import Disk, Hours, Tokens, search_disk, search_hours, search_tokens
from search.data_size import DataSize, guess_data_size
from search.halving import rung_tokens
from search.memory import MemoryEstimate, estimate, planned_precision, weights_gib, zero_stage
from search.model_shape import ModelShape, model_shape
from search.placement import HostMemory, Placement, place_at_most
from search.state import SearchState, confirmed_trials
from search.storage import existing_parent
from spaces.experiment import Experiment, ParamValue
from spaces.space import apply
from train_fn.config import Precision, TrainConfig
from train_fn.working_copy import shown

BATCH_PATH = "optim.effective_batch_size"
_MANY_PASSES = 4
"""Up to so many, repeated data is worth nearly what new data is (Muennighoff et al., arXiv:2305.16264)."""


@dataclass(frozen=True)
class BatchSteps:
    """How many optimizer steps a trial takes at one effective batch size."""

    effective_batch_size: int
    tokens_per_step: float
    to_first_rung: int | None
    """None without rungs."""
    to_the_end: int


@dataclass(frozen=True)
class Model:
    """The base model and what it takes."""

    shape: ModelShape
    trainable: int
    precision: Precision
    zero_stage: int
    memory: MemoryEstimate
    """Of one rank, at the point of the space that needs most."""
    memory_limit_gib: float | None
    """Of what a rank trains on: its share of a GPU, or of the largest node's memory. None is unknown."""
    hours: Hours
    disk: Disk


@dataclass(frozen=True)
class Plan:
    """Everything `--plan` prints."""

    experiment: Experiment
    cluster: Cluster
    storage: str
    rungs: tuple[int, ...]
    host_memory: HostMemory | None
    """What trials take of a node's memory; None when the model's sizes are unknown."""
    placement: Placement
    slots: int
    """On the machines that are known: those there are, and what an autoscaler may add."""
    most_slots: int
    """On however many machines join the cluster while the search runs."""
    data: DataSize
    steps: tuple[BatchSteps, ...]
    tokens: Tokens
    model: Model | None
    """None when nothing on this machine knows the model's sizes."""
    notes: tuple[str, ...] = ()
    problems: tuple[str, ...] = ()
    """Why the plan cannot work: each the value, the rule, the fix."""


def draft(
    experiment: Experiment,
    cluster: Cluster,
    storage: Path,
    mean_example_tokens: float | None = None,
    train_examples: int | None = None,
    eval_examples: int | None = None,
    before: SearchState | None = None,
) -> Plan:
    """Compute a plan, its problems left out. Takes the arguments of `search.plan.draft_plan`.

    Raises:
        InputError: The model cannot be read, or a point of the space is no valid configuration.
    """
    data = DataSize(mean_example_tokens, train_examples, eval_examples, "prepared")
    if mean_example_tokens is None:
        data = guess_data_size(experiment.base, storage)
    max_tokens = experiment.base.run.max_tokens
    rungs = rung_tokens(experiment.halving, max_tokens)
    tokens = search_tokens(experiment.budget.trials, experiment.halving, max_tokens, experiment.confirm)
    shape = model_shape(experiment.base.model)
    most = None if shape is None else _largest(shape, experiment)
    host = None if shape is None or most is None else _host_memory(shape, most, experiment)
    placement = place_at_most(experiment.resources, cluster, host)
    at_once = max(experiment.budget.trials, tokens.confirming)
    slots = min(experiment.resources.slots or placement.by_memory, at_once)
    model = None
    if shape is not None and most is not None:
        busy = max(slots, 1)
        disk = _disk(shape, most[0], experiment, tokens, busy, storage, before or SearchState())
        model = _model(shape, most, experiment, cluster, data, tokens, busy, disk)
    plan = Plan(
        experiment=experiment,
        cluster=cluster,
        storage=shown(storage),
        rungs=rungs,
        host_memory=host,
        placement=placement,
        slots=slots,
        most_slots=slots if cluster.local else experiment.resources.slots or at_once,
        data=data,
        steps=batch_steps(experiment, data, rungs),
        tokens=tokens,
        model=model,
    )
    return replace(plan, notes=tuple(_notes(plan)))


def batch_sizes(experiment: Experiment) -> tuple[int, ...]:
    """Return the effective batch sizes a trial can have: the choices, or the ends of a range."""
    if BATCH_PATH not in experiment.space:
        return (experiment.base.optim.effective_batch_size,)
    return tuple(sorted({int(value) for value in extremes(experiment.space[BATCH_PATH])}))


def extremes(distribution: BaseDistribution) -> tuple[ParamValue, ...]:
    """Return the choices of a categorical distribution, the ends of any other one."""
    if isinstance(distribution, CategoricalDistribution):
        return tuple(choice for choice in distribution.choices if choice is not None)
    return (distribution.low, distribution.high)  # type: ignore[attr-defined]


def batch_steps(experiment: Experiment, data: DataSize, rungs: tuple[int, ...]) -> tuple[BatchSteps, ...]:
    """Count the optimizer steps of a trial at each effective batch size.

    Without a mean length examples count as long as they may be, so that the counts are the fewest possible.
    """
    length = data.mean_example_tokens or float(experiment.base.data.max_example_tokens)
    steps = []
    for size in batch_sizes(experiment):
        per_step = size * length
        first = math.ceil(rungs[0] / per_step) if rungs else None
        steps.append(BatchSteps(size, per_step, first, math.ceil(experiment.base.run.max_tokens / per_step)))
    return tuple(steps)


def memory_corners(experiment: Experiment) -> Iterable[TrainConfig]:
    """Yield the trials at the extremes of what memory depends on."""
    space = {p: extremes(d) for p, d in experiment.space.items() if p.startswith(("model.", "engine."))}
    for values in itertools.product(*space.values()):
        yield apply(experiment.base, dict(zip(space, values, strict=True)))


def _largest(shape: ModelShape, experiment: Experiment) -> tuple[TrainConfig, MemoryEstimate]:
    resources = experiment.resources
    gpu = resources.gpus_per_rank > 0
    both = []
    for config in memory_corners(experiment):
        precision = planned_precision(config.engine.precision, gpu)
        both.append((config, estimate(shape, config, resources.ranks_per_slot, precision, gpu)))
    return max(both, key=lambda pair: pair[1].total_gib + pair[1].offloaded_gib)


def _host_memory(
    shape: ModelShape, most: tuple[TrainConfig, MemoryEstimate], experiment: Experiment
) -> HostMemory:
    config, memory = most
    gpu = experiment.resources.gpus_per_rank > 0
    precision = planned_precision(config.engine.precision, gpu)
    return HostMemory(memory.host_gib(gpu), weights_gib(shape, precision))


def _model(
    shape: ModelShape,
    most: tuple[TrainConfig, MemoryEstimate],
    experiment: Experiment,
    cluster: Cluster,
    data: DataSize,
    tokens: Tokens,
    slots: int,
    disk: Disk,
) -> Model:
    config, memory = most
    resources = experiment.resources
    gpu = resources.gpus_per_rank > 0
    precision = planned_precision(config.engine.precision, gpu)
    length = data.mean_example_tokens or float(config.data.max_example_tokens)
    eval_tokens = (data.eval_examples or config.data.max_eval_examples) * length
    per_rank = resources.gpus_per_rank if gpu else resources.cpus_per_rank
    busy = slots * resources.ranks_per_slot * per_rank
    return Model(
        shape=shape,
        trainable=shape.trainable(config.model),
        precision=precision,
        zero_stage=zero_stage(config, precision),
        memory=memory,
        memory_limit_gib=_memory_limit(experiment, cluster),
        hours=search_hours(shape, config, tokens, eval_tokens, cluster, precision, busy, gpu),
        disk=disk,
    )


def _disk(
    shape: ModelShape,
    config: TrainConfig,
    experiment: Experiment,
    tokens: Tokens,
    slots: int,
    storage: Path,
    before: SearchState,
) -> Disk:
    """Estimate the room on the disk; what an earlier command has confirmed is kept beside the best trials."""
    budget = experiment.budget
    own = (trial for trial in before.trials.values() if trial.confirms is None)
    there = {trial.trial for trial in own if trial.checkpoint is not None}
    keep = max(budget.keep_weights, experiment.confirm.top) + len(there & confirmed_trials(before))
    precision = planned_precision(config.engine.precision, experiment.resources.gpus_per_rank > 0)
    free_gib = shutil.disk_usage(existing_parent(storage)).free / GIB
    return search_disk(shape, config, precision, budget.trials, tokens, slots, free_gib, keep, len(there))


def _memory_limit(experiment: Experiment, cluster: Cluster) -> float | None:
    resources = experiment.resources
    if not resources.gpus_per_rank:
        return max((node.memory_gib for node in cluster.possible), default=None)
    known = [node.gpu_memory_gib for node in cluster.possible if node.gpu_memory_gib]
    whole = resources.gpu_memory_gib or min(known, default=0.0)
    return whole * min(1.0, resources.gpus_per_rank) or None


def _notes(plan: Plan) -> Iterable[str]:
    experiment = plan.experiment
    if plan.model is None:
        path = experiment.base.model.path
        yield f"memory, hours and disk are unknown: {path!r} is not in the Hub's cache of this machine yet"
    elif plan.model.memory_limit_gib is None and plan.slots:
        yield "GPU memory is unknown, so it was not checked: set resources.gpu_memory_gib"
    if plan.placement.by_memory < plan.placement.by_devices and not experiment.resources.slots:
        few, many = plan.placement.by_memory, plan.placement.by_devices
        yield f"memory holds {few} slots, CPUs and GPUs would do for {many}"
    if not plan.rungs and experiment.budget.trials > 1:
        yield "there is no rung before the end, so no trial is stopped for losing"
    yield from _data_notes(plan.data, experiment)


def _data_notes(data: DataSize, experiment: Experiment) -> Iterable[str]:
    """Say where the data is little for what is asked of it."""
    max_tokens, held_out = experiment.base.run.max_tokens, experiment.promotion.min_eval_examples
    there = (data.train_examples or 0) * (data.mean_example_tokens or 0.0)
    if there and max_tokens / there > _MANY_PASSES:
        yield (
            f"a trial passes {max_tokens / there:,.0f} times over its {there:,.0f} tokens, more than "
            f"{_MANY_PASSES}: give more data, or lower run.max_tokens"
        )
    if data.eval_examples is not None and data.eval_examples < held_out:
        few = experiment.base.data.max_eval_examples < held_out
        fix = "raise data.max_eval_examples" if few else "raise data.eval_fraction or give more data"
        yield f"held-out replies: {data.eval_examples}, below promotion.min_eval_examples = {held_out}: {fix}"
