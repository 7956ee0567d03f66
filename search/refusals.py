"""Why a plan cannot work. Each problem is one line: the value, the rule, the fix."""

import math
from collections.abc import Iterator

from search.data_size import DataSize
from search.draft import BATCH_PATH, Plan, batch_sizes, batch_steps
from search.placement import grown, has_kind, ranks_on
from spaces.experiment import Experiment
from spaces.space import check_space
from spaces.words import gib_text
from train_fn.errors import InputError
from train_fn.limits import check_positions
from train_fn.sources import check_source
from train_fn.working_copy import is_address

MIN_EVAL_EXAMPLES = 2
"""Fewer have no standard error."""


def problems(plan: Plan) -> Iterator[str]:
    """Yield everything that keeps the plan from working, what to mend first in front."""
    yield from _space(plan)
    yield from _sources(plan)
    yield from _positions(plan)
    yield from _fit(plan)
    yield from _ranks(plan)
    yield from batch_problems(plan.experiment, plan.data)
    yield from _rungs(plan)
    yield from _store(plan)
    yield from _disk(plan)


def _problem(path: str, value: object, rule: str, fix: str) -> str:
    return f"{path} = {value} {rule}; {fix}"


def _space(plan: Plan) -> Iterator[str]:
    try:
        check_space(plan.experiment)
    except InputError as error:
        yield str(error)


def _sources(plan: Plan) -> Iterator[str]:
    for source in plan.experiment.base.data.sources:
        try:
            check_source(source)
        except InputError as error:
            yield str(error)
    held_out = plan.data.eval_examples
    if held_out is not None and held_out < MIN_EVAL_EXAMPLES:
        fraction = plan.experiment.base.data.eval_fraction
        rule = (
            f"leaves {held_out} held-out examples, at least {MIN_EVAL_EXAMPLES} are needed to compare trials"
        )
        yield _problem("data.eval_fraction", fraction, rule, "raise it, or give more data")


def _positions(plan: Plan) -> Iterator[str]:
    if plan.model is None:
        return
    try:
        check_positions(plan.experiment.base, plan.model.shape.positions)
    except InputError as error:
        yield str(error)


def _fit(plan: Plan) -> Iterator[str]:
    resources, placement = plan.experiment.resources, plan.placement
    if placement.by_devices == 0:
        yield _too_large(plan)
    yield from _gpu_memory(plan)
    if placement.by_devices and not placement.by_memory:
        yield _host_memory(plan)
    elif placement.by_memory and resources.slots > placement.by_memory:
        least = "CPUs and GPUs" if placement.by_memory == placement.by_devices else "memory"
        rule = f"is more than fits: {least} hold {placement.by_memory}"
        yield _problem(
            "resources.slots", resources.slots, rule, "lower it, or set it to 0 for as many as fit"
        )


def _too_large(plan: Plan) -> str:
    resources, nodes = plan.experiment.resources, plan.cluster.possible
    ranks, spans = resources.ranks_per_slot, resources.span_nodes
    if spans:  # as many as there may be at the same time
        sets = (plan.cluster.nodes, grown(resources, plan.cluster, None))
        nodes = max(sets, key=lambda some: sum(ranks_on(node, resources) for node in some))
    needs = f"{ranks * resources.cpus_per_rank:g} CPUs"
    if resources.gpus_per_rank:
        needs += f" and {ranks * resources.gpus_per_rank:g} GPUs"
    largest = max(nodes, key=lambda node: (ranks_on(node, resources), node.gpus, node.cpus), default=None)
    if largest is None:
        return _problem("resources.ranks_per_slot", ranks, "finds no living node", "start the cluster")
    kind = resources.accelerator
    if kind and not any(has_kind(node, kind) for node in nodes):
        there = ", ".join(sorted({node.gpu_name for node in nodes if node.gpu_name})) or "none"
        rule = f"is on no node (there: {there})"
        return _problem(
            "resources.accelerator", repr(kind), rule, "name one that is there, or leave it empty"
        )
    fits = sum(ranks_on(node, resources) for node in nodes) if spans else ranks_on(largest, resources)
    has = f"{largest.cpus:g} CPUs and {largest.gpus:g} GPUs"
    who = "this machine has" if plan.cluster.local else f"the best of {len(nodes)} nodes has"
    where = "in all" if spans else "on one node"
    rule = f"needs {needs} {where}, and {who} {has}"
    if fits:
        fix = f"set it to {fits} or less"
        if not spans and len(nodes) > 1:
            fix += ", or let slots span nodes (resources.span_nodes=true)"
        return _problem("resources.ranks_per_slot", ranks, rule, fix)
    if resources.gpus_per_rank and largest.gpus < min(resources.gpus_per_rank, 1):
        fix = "run on a cluster with GPUs (--address), or take --profile laptop"
        return _problem("resources.gpus_per_rank", f"{resources.gpus_per_rank:g}", rule, fix)
    return _problem(
        "resources.cpus_per_rank", f"{resources.cpus_per_rank:g}", rule, "lower it, or take larger nodes"
    )


def _gpu_memory(plan: Plan) -> Iterator[str]:
    model, gpu = plan.model, plan.experiment.resources.gpus_per_rank > 0
    if model is None or not gpu or model.memory_limit_gib is None:
        return
    if model.memory.total_gib > model.memory_limit_gib:
        needs, has = model.memory.total_gib, model.memory_limit_gib
        rule = f"needs about {needs:,.1f} GiB of GPU memory per rank, and a rank has {has:,.1f} GiB"
        yield _problem("model.path", repr(plan.experiment.base.model.path), rule, _less_memory(plan))


def _host_memory(plan: Plan) -> str:
    assert plan.model is not None, "only a known model limits slots by memory"
    ranks, memory = plan.experiment.resources.ranks_per_slot, plan.model.memory
    gpu = plan.experiment.resources.gpus_per_rank > 0
    per_rank = memory.host_gib(gpu)
    has = max(node.memory_gib for node in plan.cluster.possible)
    needs = f"needs about {per_rank:,.1f} GiB of host memory on each of {ranks} ranks"
    rule = f"{needs}, and the largest node has {has:,.1f} GiB"
    return _problem("model.path", repr(plan.experiment.base.model.path), rule, _less_memory(plan))


def _less_memory(plan: Plan) -> str:
    base = plan.experiment.base
    ways = []
    if base.engine.zero_stage < 3 and plan.experiment.resources.ranks_per_slot > 1:
        ways.append(f"engine.zero_stage={base.engine.zero_stage + 1}")
    if not base.model.activation_checkpointing:
        ways.append("model.activation_checkpointing=true")
    if base.model.lora.rank == 0:
        ways.append("model.lora.rank=8")
    half = base.engine.max_tokens_per_micro_batch // 2
    if half >= base.data.max_example_tokens:
        ways.append(f"engine.max_tokens_per_micro_batch={half}")
    return f"set {' or '.join(ways)}, or take larger machines" if ways else "take larger machines"


def _ranks(plan: Plan) -> Iterator[str]:
    ranks = plan.experiment.resources.ranks_per_slot
    sizes = batch_sizes(plan.experiment)
    if min(sizes) < ranks:
        rule = f"is below the {ranks} ranks of a trial: a rank would have no example"
        yield _problem(
            BATCH_PATH, min(sizes), rule, "leave it out of the space, or lower resources.ranks_per_slot"
        )


def batch_problems(experiment: Experiment, data: DataSize) -> Iterator[str]:
    """Yield what keeps an optimizer step from fitting the data and the budget of a trial."""
    largest, budget = batch_steps(experiment, data, ())[-1], experiment.base.run.max_tokens
    size, examples = largest.effective_batch_size, data.train_examples
    if examples is not None and size > examples:
        rule = f"is more than the {examples:,} training examples"
        yield _problem(BATCH_PATH, size, rule, f"{_smaller_batches(experiment)}, or give more data")
    elif data.counted and largest.tokens_per_step > budget:
        step = f"makes a step of about {largest.tokens_per_step:,.0f} tokens"
        rule = f"{step}, more than run.max_tokens = {budget:,}"
        yield _problem(BATCH_PATH, size, rule, f"{_smaller_batches(experiment)}, or train longer")


def _rungs(plan: Plan) -> Iterator[str]:
    experiment = plan.experiment
    first, run = experiment.halving.first_rung_tokens, experiment.base.run
    if experiment.budget.trials == 1:
        return
    path = "halving.first_rung_tokens"
    if first >= run.max_tokens:
        rule = f"must be below run.max_tokens = {run.max_tokens:,}, or no trial is ever judged before its end"
        yield _problem(path, f"{first:,}", rule, _first_rung_fix(plan))
    if first < run.window_tokens:
        rule = (
            f"is below run.window_tokens = {run.window_tokens:,}: a rung is judged on a window that is whole"
        )
        yield _problem(path, f"{first:,}", rule, _first_rung_fix(plan))
    largest = plan.steps[-1]
    if plan.data.counted and largest.tokens_per_step > first:
        rule = (
            f"is less than one optimizer step at {BATCH_PATH} = {largest.effective_batch_size}, "
            f"about {largest.tokens_per_step:,.0f} tokens"
        )
        yield _problem(path, f"{first:,}", rule, _first_rung_fix(plan))
    if plan.rungs and experiment.halving.brackets > len(plan.rungs):
        rule = f"is more than the {len(plan.rungs)} rungs: each bracket begins at a rung of its own"
        fix = f"set it to {len(plan.rungs)} or less"
        yield _problem("halving.brackets", experiment.halving.brackets, rule, fix)


def _first_rung_fix(plan: Plan) -> str:
    """Name a first rung that no rule refuses, or what has to change for one to exist."""
    halving, run = plan.experiment.halving, plan.experiment.base.run
    stretch = halving.spacing ** (halving.brackets - 0.5)  # from it to the end, with a rung for each bracket
    most = int(run.max_tokens / stretch) - 1  # rungs are rounded
    step = math.ceil(plan.steps[-1].tokens_per_step)
    window_decides = run.window_tokens >= step or (not plan.data.counted and step > most)
    least = run.window_tokens if window_decides else step
    if least <= most:
        return f"set it to {max(least, min(run.max_tokens // 9, most)):_}"
    ways = [
        f"set it to {least:_} and run.max_tokens to {math.ceil((least + 1) * stretch):_}",
        "lower run.window_tokens" if window_decides else _smaller_batches(plan.experiment),
    ]
    if halving.brackets > 1:
        ways.append("lower halving.brackets")
    return f"no value fits alone: {', or '.join(ways)}"


def _smaller_batches(experiment: Experiment) -> str:
    return (
        "leave the batch size out of the space" if BATCH_PATH in experiment.space else "lower the batch size"
    )


def _store(plan: Plan) -> Iterator[str]:
    """Ranks on two nodes would not see each other's part of a checkpoint before it is on the store."""
    if is_address(plan.storage) and plan.experiment.resources.span_nodes:
        rule = f"needs a folder that all nodes share, and --storage {plan.storage} is none"
        yield _problem("resources.span_nodes", "true", rule, "set it to false, or give a shared folder")


def _disk(plan: Plan) -> Iterator[str]:
    if plan.model is None or not plan.slots or is_address(plan.storage):
        return
    disk = plan.model.disk
    needs_gib = disk.expected_gib - disk.there_gib
    if needs_gib <= disk.free_gib:
        return
    rule = f"has {gib_text(disk.free_gib)} free, checkpoints and weights take about {gib_text(needs_gib)}"
    yield _problem("--storage", repr(plan.storage), rule, "make room, or name a folder on a larger disk")
