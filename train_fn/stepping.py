"""The optimizer steps of a trial: which examples each one takes, and what becomes of one that is not finite.

A gradient that is not finite changes nothing (`Engine.step`), so the step is taken again: a fault of the
hardware does not repeat. One that does is bisected (`train_fn.culprits`); the examples that are to blame are
left out from then on, and the step is taken without them. Where none are found, the step stays discarded: it
counts as a step with its tokens, and the rules of `train_fn.doom` count it too. In fp16 the loss scaler
decides instead. Every decision follows from figures that all ranks share.
"""

from collections.abc import Callable, Collection
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from torch import distributed

from train_fn.batches import Order, StepPlan, plan_step
from train_fn.config import TrainConfig
from train_fn.culprits import find_culprits
from train_fn.engine import Engine
from train_fn.prepared import Prepared
from train_fn.progress import Progress
from train_fn.schedule import learning_rate
from train_fn.skipped import write_skipped
from train_fn.window import Step

Watch = Callable[[int, int | None], None]
"""Told, before each step and after each window, the steps behind and where the step takes its examples."""
MAX_CULPRITS = 8
"""Examples of a trial that are looked for one by one: data with more of them wants cleaning."""


class Stepper:
    """Takes the steps of one trial. Every rank has one and calls it at the same places.

    Args:
        config: The trial.
        prepared: Its data.
        engine: Its engine.
        workspace: Its folder, where rank 0 names what is left out.
        skip: Places in the order of examples; a step that would begin at one is left out. Those of earlier
            commands are in the progress.
        watch: See `Watch`.
        say: Prints a line, on rank 0.
    """

    def __init__(
        self,
        config: TrainConfig,
        prepared: Prepared,
        engine: Engine,
        workspace: Path,
        skip: Collection[int],
        watch: Watch,
        say: Callable[[str], None],
    ) -> None:
        self._config, self._prepared, self._engine, self._workspace = config, prepared, engine, workspace
        self._skip, self._watch, self._say = skip, watch, say
        self._order = Order(prepared.train.sources, config.data.weights, config.run.seed)

    def begin(self, progress: Progress) -> None:
        """Keep and name what is known to be left out when the trial is taken up."""
        progress.left_out = sorted({*progress.left_out, *self._skip})
        if (progress.left_out or progress.culprits) and distributed.get_rank() == 0:
            write_skipped(self._workspace, self._config, self._prepared, progress.left_out, progress.culprits)

    def take(self, progress: Progress) -> Step:
        """Take the next step and count it.

        Raises:
            LossScaleExhaustedError: See there.
        """
        chosen = self._next(progress)
        self._watch(progress.steps, progress.examples_taken)
        step = self._try(chosen, progress)
        if step.result.discarded:
            step = self._try(chosen, progress)
        if step.result.discarded:
            step = self._without_culprits(chosen, progress) or step
        progress.tokens_seen, progress.steps = step.tokens_seen, progress.steps + 1
        progress.examples_taken += self._config.optim.effective_batch_size
        progress.overflow_steps += int(step.result.overflowed)
        return step

    def _next(self, progress: Progress) -> NDArray[np.int64]:
        """Go to the next step that has examples, and return them."""
        size = self._config.optim.effective_batch_size
        known = [example for example, _ in progress.culprits]
        while True:
            taken = self._order.take(progress.examples_taken, size)
            left = taken[~np.isin(taken, known)]
            if progress.examples_taken not in progress.left_out and len(left) > 0:
                return left
            progress.examples_taken += size

    def _try(self, chosen: NDArray[np.int64], progress: Progress) -> Step:
        optim, run = self._config.optim, self._config.run
        plan = self._plan(chosen)
        after = progress.tokens_seen + plan.tokens
        lr = learning_rate(optim, run.max_tokens, progress.tokens_seen, after)
        result = self._engine.step(self._prepared.train, plan, optim.objective, lr)
        return Step(after, lr, plan.tokens, result)

    def _without_culprits(self, chosen: NDArray[np.int64], progress: Progress) -> Step | None:
        """Look for the examples that are to blame and take the step without them; None if there are none."""
        told = f"step {progress.steps + 1:,} has a gradient that is not finite"
        if len(progress.culprits) >= MAX_CULPRITS:
            self._say(f"{told}; it is discarded, and after {MAX_CULPRITS} examples no more are looked for")
            return None
        train, objective = self._prepared.train, self._config.optim.objective
        found = find_culprits(chosen, lambda some: self._engine.is_finite(train, self._plan(some), objective))
        if not found:
            self._say(f"{told}; it is discarded, no one or two of its {len(chosen)} examples are to blame")
            return None
        names = ", ".join(train.ids[example] for example in found)
        self._say(f"{told}: {names} left out from now on, of the {len(chosen)} examples of the step")
        progress.culprits += [(example, progress.examples_taken) for example in found]
        self.begin(progress)
        return self._try(chosen[~np.isin(chosen, found)], progress)

    def _plan(self, chosen: NDArray[np.int64]) -> StepPlan:
        return plan_step(
            self._prepared.train,
            chosen,
            self._config.optim.objective,
            distributed.get_rank(),
            distributed.get_world_size(),
            self._config.engine.max_tokens_per_micro_batch,
        )
