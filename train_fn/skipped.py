"""Which examples a trial leaves out: training failed on them twice, or their gradient is not finite."""

import json
from collections.abc import Collection, Iterable
from pathlib import Path

from train_fn.batches import Order
from train_fn.config import TrainConfig
from train_fn.prepared import Prepared

FILE_NAME = "skipped_examples.jsonl"


def write_skipped(
    workspace: Path,
    config: TrainConfig,
    prepared: Prepared,
    left_out: Collection[int],
    culprits: Iterable[tuple[int, int]],
) -> None:
    """Write the ids of the examples that a trial skips, one JSON line each, in place of an earlier list.

    Args:
        workspace: The trial's folder.
        config: The trial.
        prepared: Its data.
        left_out: Places in the order of examples at which a step that is left out would begin.
        culprits: Examples left out one by one, each with the place at which the step began that it spoiled.
    """
    order = Order(prepared.train.sources, config.data.weights, config.run.seed)
    windows = [
        (int(example), place)
        for place in left_out
        for example in order.take(place, config.optim.effective_batch_size)
    ]
    lines = [
        json.dumps({"id": prepared.train.ids[example], "window": place})
        for example, place in (*windows, *culprits)
    ]
    workspace.mkdir(parents=True, exist_ok=True)
    partial = workspace / f".{FILE_NAME}.partial"
    partial.write_text("".join(f"{line}\n" for line in lines))
    partial.replace(workspace / FILE_NAME)
