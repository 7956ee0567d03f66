"""The last layer works for the loss alone; that its loss is the same is in tests/invariance."""

import pytest
import torch

from tests.toys import toy_base, toy_examples, toy_train_config
from train_fn.batches import build_micro_batch, plan_step
from train_fn.config import Objective
from train_fn.loss import PackedLoss, inputs_on
from train_fn.loss_rows import read_again, reading
from train_fn.model import ARCHITECTURES, fresh_model

EXAMPLES = toy_examples(5, seed=2)
TOKENS = int(EXAMPLES.lengths.sum())


def inputs_of(objective: Objective) -> dict[str, torch.Tensor]:
    members = tuple(range(len(EXAMPLES)))
    plan = plan_step(EXAMPLES, torch.arange(len(EXAMPLES)).numpy(), objective, 0, 1, 4096)
    return inputs_on(build_micro_batch(EXAMPLES, members, objective, plan), torch.device("cpu"))


def rows_of_mlps(module: PackedLoss, objective: Objective) -> list[int]:
    """Return how many rows the MLP of each layer computes."""
    seen: list[int] = []
    for name, part in module.named_modules():
        if name.endswith(("act", "act_fn")):
            part.register_forward_hook(lambda part, inputs, output: seen.append(output.shape[1]))
    module(**inputs_of(objective), head_chunks=1)
    return seen


@pytest.mark.parametrize("kind", ARCHITECTURES)
def test_only_the_last_layer_is_cut_and_only_to_the_answers(kind: str) -> None:
    module = PackedLoss(fresh_model(toy_base(kind), toy_train_config(), torch.float32))
    answers = len(inputs_of("response")["loss_positions"])
    assert answers < 0.9 * TOKENS
    *others, last = rows_of_mlps(module, "response")
    assert set(others) == {TOKENS}
    assert last == answers


def test_nothing_is_cut_where_nearly_all_tokens_have_a_loss() -> None:
    module = PackedLoss(fresh_model(toy_base(), toy_train_config(), torch.float32))
    assert len(inputs_of("clm")["loss_positions"]) < TOKENS
    assert set(rows_of_mlps(module, "clm")) == {TOKENS}


def test_the_model_itself_stays_whole() -> None:
    model = fresh_model(toy_base(), toy_train_config(), torch.float32).eval()
    inputs = inputs_of("response")
    whole = {"input_ids": inputs["tokens"], "attention_mask": inputs["layout"]}
    before = model(**whole).logits
    module = PackedLoss(model)
    loss = module(**inputs, head_chunks=1)
    loss.backward()
    torch.testing.assert_close(model(**whole).logits, before)


def test_what_is_computed_again_reads_the_rows_of_its_own_pass() -> None:
    model = fresh_model(toy_base(), toy_train_config(), torch.float32)
    module, states = PackedLoss(model), torch.ones(1, 10, model.config.hidden_size)
    mlp = [part for name, part in module.named_modules() if name.endswith("mlp")][-1]
    with reading(torch.tensor([2, 5]), 10):
        first, second = read_again()
    with reading(torch.tensor([7]), 10), second:
        filled = mlp(states)[0].abs().sum(dim=1).nonzero().flatten()
    assert filled.tolist() == [2, 5]
    with first:
        assert mlp(states)[0].abs().sum(dim=1).all()
