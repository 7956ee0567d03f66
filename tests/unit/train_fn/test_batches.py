"""The order of examples, the plan of a step, the weights of its tokens."""

from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.toys import ToyExamples, toy_examples
from train_fn.batches import HEAD_CHUNK_TOKENS, Order, balance, build_micro_batch, pack, plan_step
from train_fn.errors import InputError

LENGTHS = st.lists(st.integers(1, 50), min_size=1, max_size=40).map(lambda x: np.array(x, np.int64))


def sources(*counts: int) -> np.ndarray:
    return np.repeat(np.arange(len(counts)), counts).astype(np.int16)


@given(st.integers(1, 30), st.integers(0, 3), st.lists(st.integers(1, 17), min_size=1, max_size=8))
def test_order_is_the_same_however_it_is_cut(count: int, seed: int, cuts: list[int]) -> None:
    order, again = Order(sources(count), (), seed), Order(sources(count), (), seed)
    start, parts = 0, []
    for cut in cuts:
        parts.append(order.take(start, cut))
        start += cut
    assert np.concatenate(parts).tolist() == again.take(0, start).tolist()


def test_each_epoch_takes_every_example_once_in_another_order() -> None:
    order = Order(sources(50), (), 0)
    first, second = order.take(0, 50), order.take(50, 50)
    assert sorted(first) == sorted(second) == list(range(50))
    assert first.tolist() != second.tolist()
    assert first.tolist() != Order(sources(50), (), 1).take(0, 50).tolist()


def test_weights_repeat_sources_and_choose_fractions_anew() -> None:
    order = Order(sources(10, 20, 5), (2.5, 0.25, 1.0), 0)
    assert order.epoch_length == 25 + 5 + 5
    epochs = [order.take(35 * k, 35) for k in range(4)]
    for epoch in epochs:
        counts = np.bincount(epoch, minlength=35)
        assert set(counts[:10]) == {2, 3}
        assert counts[:10].sum() == 25
        assert counts[10:30].sum() == 5
        assert counts[30:].tolist() == [1] * 5
    assert len({tuple(sorted(e)) for e in epochs}) > 1


def test_weights_that_take_nothing_are_refused() -> None:
    with pytest.raises(InputError, match=r"^data.weights = \(0.005,\) takes no example .*; raise it"):
        Order(sources(54), (0.005,), 0)
    assert Order(sources(54, 54), (0.005, 1.0), 0).epoch_length == 54


@given(LENGTHS, st.integers(1, 5))
def test_balance_keeps_every_position_and_evens_the_tokens(lengths: np.ndarray, ranks: int) -> None:
    shares = balance(lengths, ranks)
    assert sorted(np.concatenate(shares).tolist()) == list(range(len(lengths)))
    loads = [int(lengths[s].sum()) for s in shares]
    assert max(loads) - min(loads) <= lengths.max()


@given(LENGTHS, st.integers(50, 200))
def test_packing_fits_and_needs_few_boxes(lengths: np.ndarray, room: int) -> None:
    boxes = pack(lengths, room)
    assert sorted(k for box in boxes for k in box) == list(range(len(lengths)))
    assert all(lengths[box].sum() <= room for box in boxes)
    assert len(boxes) <= 2 * -(-int(lengths.sum()) // room)


@given(st.integers(1, 60), st.integers(1, 4), st.integers(24, 120))
def test_the_ranks_plans_are_one_step(batch_size: int, ranks: int, room: int) -> None:
    examples = toy_examples(40)
    chosen = np.random.default_rng(batch_size).integers(0, 40, batch_size)
    plans = [plan_step(examples, chosen, "response", r, ranks, room) for r in range(ranks)]
    members = [i for p in plans for box in p.micro_batches for i in box]
    assert sorted(members) == sorted(chosen.tolist())
    assert len({(p.tokens, p.prompt_targets, p.answer_targets, p.head_chunks) for p in plans}) == 1
    assert len({len(p.micro_batches) for p in plans}) == 1
    assert plans[0].tokens == examples.lengths[chosen].sum()
    assert plans[0].prompt_targets + plans[0].answer_targets == plans[0].tokens - batch_size


class Indexed:
    """Numbers of many examples, of which only those asked for may be read."""

    def __init__(self, values: np.ndarray) -> None:
        self._values = values

    def __getitem__(self, chosen: np.ndarray) -> np.ndarray:
        return self._values[chosen]


@pytest.mark.parametrize("objective", ["response", "clm"])
def test_a_plan_reads_the_lengths_of_its_own_examples_only(objective: str) -> None:
    examples, chosen = toy_examples(40), np.array([3, 17, 17, 39, 0])
    plans = [
        plan_step(one, chosen, objective, 0, 2, 30)  # type: ignore[arg-type]
        for one in (
            SimpleNamespace(
                lengths=Indexed(examples.lengths), prompt_lengths=Indexed(examples.prompt_lengths)
            ),
            examples,
        )
    ]
    assert plans[0] == plans[1]


@pytest.mark.parametrize("objective", ["response", "clm", "balanced"])
@pytest.mark.parametrize("ranks", [1, 3])
def test_weights_of_a_step_sum_to_one_over_ranks_and_micro_batches(objective: str, ranks: int) -> None:
    examples, chosen = toy_examples(40), np.arange(17)
    prompt = answer = 0.0
    for rank in range(ranks):
        plan = plan_step(examples, chosen, objective, rank, ranks, 60)
        for members in plan.micro_batches:
            batch = build_micro_batch(examples, members, objective, plan)
            is_answer = batch.positions[batch.loss_positions] + 1 >= examples.prompt_lengths[batch.owners]
            prompt += batch.weights[~is_answer].sum()
            answer += batch.weights[is_answer].sum()
    assert prompt + answer == pytest.approx(1, abs=1e-5)
    if objective == "response":
        assert prompt == 0
    if objective == "balanced":
        assert prompt == pytest.approx(0.5, abs=1e-5)


def one_example(tokens: list[int], prompt: int) -> ToyExamples:
    return ToyExamples((np.array(tokens, np.int32),), np.array([prompt], np.int32), np.zeros(1, np.int16))


def test_mask_token_by_token() -> None:
    examples = one_example([10, 11, 12, 13, 14], 3)
    for objective, targets in (("response", [13, 14]), ("clm", [11, 12, 13, 14])):
        plan = plan_step(examples, np.array([0]), objective, 0, 1, 8)
        batch = build_micro_batch(examples, (0,), objective, plan)
        assert batch.targets.tolist() == targets
        assert (batch.tokens[batch.loss_positions] + 1).tolist() == targets
        assert batch.weights.tolist() == [np.float32(1 / len(targets))] * len(targets)


@pytest.mark.parametrize(("tokens", "prompt"), [([5, 6], 0), ([5], 0), ([5], 1), ([5, 6], 2)])
def test_examples_without_a_prompt_or_an_answer_do_no_harm(tokens: list[int], prompt: int) -> None:
    examples = one_example(tokens, prompt)
    for objective in ("response", "clm", "balanced"):
        plan = plan_step(examples, np.array([0]), objective, 0, 1, 8)
        batch = build_micro_batch(examples, (0,), objective, plan)
        assert len(batch.targets) == len(batch.loss_positions) == len(batch.weights) >= 1
        assert batch.weights.sum() in (0, 0.5, 1)


def test_head_runs_as_often_on_every_rank() -> None:
    long = HEAD_CHUNK_TOKENS + 10
    rows = (np.ones(long, np.int32), np.ones(5, np.int32))
    examples = ToyExamples(rows, np.array([1, 4], np.int32), np.zeros(2, np.int16))
    plans = [plan_step(examples, np.array([0, 1]), "response", rank, 2, long) for rank in (0, 1)]
    assert plans[0].head_chunks == plans[1].head_chunks == (2,)
