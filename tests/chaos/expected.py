"""Which reports a trial must leave, computed from the data alone: no training, no report is asked."""

from collections.abc import Iterator

from train_fn.batches import Order
from train_fn.config import TrainConfig
from train_fn.prepared import Prepared


def expected_reports(config: TrainConfig, prepared: Prepared) -> Iterator[int]:
    """Yield the tokens seen at each report of a trial that nobody stops.

    A window ends with the first optimizer step that crosses a multiple of `run.window_tokens`, or reaches an
    evaluation or the end.
    """
    order = Order(prepared.train.sources, config.data.weights, config.run.seed)
    run, batch = config.run, config.optim.effective_batch_size
    marks, taken, seen = list(run.eval_at_tokens), 0, 0
    while seen < run.max_tokens:
        before = seen
        seen += int(prepared.train.lengths[order.take(taken, batch)].sum())
        taken += batch
        reached = [mark for mark in marks if mark <= seen]
        marks = marks[len(reached) :]
        if seen // run.window_tokens > before // run.window_tokens or reached or seen >= run.max_tokens:
            yield seen
