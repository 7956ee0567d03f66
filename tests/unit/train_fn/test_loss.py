"""Logits only where the loss looks, and packed rows that keep examples apart."""

import numpy as np
import torch

from tests.toys import toy_base, toy_examples, toy_train_config
from train_fn.attention import pack_layout
from train_fn.batches import build_micro_batch, plan_step
from train_fn.loss import PackedLoss, inputs_on, token_nll
from train_fn.model import fresh_model

CPU = torch.device("cpu")
EXAMPLES = toy_examples(12, seed=4)


def loss_of(module: PackedLoss, members: tuple[int, ...]) -> torch.Tensor:
    plan = plan_step(EXAMPLES, np.arange(12), "response", 0, 1, 4096)
    batch = build_micro_batch(EXAMPLES, members, "response", plan)
    return module(**inputs_on(batch, CPU), head_chunks=1)


def test_one_packed_row_is_the_sum_of_its_examples() -> None:
    module = PackedLoss(fresh_model(toy_base(), toy_train_config(), torch.float32))
    single = sum(loss_of(module, (i,)) for i in range(12))
    torch.testing.assert_close(loss_of(module, tuple(range(12))), single)


def test_empty_micro_batch_adds_neither_loss_nor_gradient_but_reaches_every_parameter() -> None:
    module = PackedLoss(fresh_model(toy_base(), toy_train_config(), torch.float32))
    loss = loss_of(module, ())
    loss.backward()
    assert loss.item() == 0
    assert all(p.grad is not None and not p.grad.any() for p in module.parameters())


class CountingHead(torch.nn.Linear):
    rows: tuple[int, ...] = ()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.rows += (x.shape[0],)
        return super().forward(x)


def test_head_sees_loss_positions_only_and_chunks_are_computed_again() -> None:
    head = CountingHead(8, 50)
    states, targets = torch.randn(10, 8, requires_grad=True), torch.arange(10)
    whole = token_nll(states, targets, head, 2.0, 1)
    assert head.rows == (10,)
    chunked = token_nll(states, targets, head, 2.0, 3)
    torch.testing.assert_close(whole, chunked)
    head.rows = ()
    chunked.sum().backward()
    assert sorted(head.rows) == [3, 3, 4]


def test_more_chunks_than_positions_still_work() -> None:
    nll = token_nll(torch.randn(2, 8), torch.tensor([1, 2]), torch.nn.Linear(8, 50), None, 4)
    assert nll.shape == (2,)


def test_layout_says_starts_and_the_longest_without_a_copy() -> None:
    layout = pack_layout(torch.tensor([0, 3, 8], dtype=torch.int32), 5)
    assert layout.shape == (1, 1, 5, 3)
    assert layout.stride()[2] == 0
