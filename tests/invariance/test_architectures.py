"""The packed loss of each architecture against the loss that transformers computes, one example at a time."""

import dataclasses

import numpy as np
import pytest
import torch

from tests.toys import TINY, toy_base, toy_examples, toy_model, toy_train_config
from train_fn.batches import build_micro_batch, plan_step
from train_fn.config import LoraConfig, ModelConfig
from train_fn.loss import PackedLoss, inputs_on
from train_fn.model import ARCHITECTURES, adapt, fresh_model

CPU = torch.device("cpu")
EXAMPLES = toy_examples(7, seed=3)
FIRST = {"response": 0, "clm": 1}


def packed_loss(module: PackedLoss, objective: str, max_tokens: int = 64, chunks: int = 1) -> torch.Tensor:
    plan = plan_step(EXAMPLES, np.arange(len(EXAMPLES)), objective, 0, 1, max_tokens)
    batches = [build_micro_batch(EXAMPLES, m, objective, plan) for m in plan.micro_batches]
    assert len(batches) > 1
    return sum(module(**inputs_on(b, CPU), head_chunks=chunks) for b in batches)


def transformers_loss(model: torch.nn.Module, objective: str) -> torch.Tensor:
    """Sum over examples of (mean token loss by transformers) x (its tokens), over all tokens of the step."""
    total, count = torch.zeros(()), 0
    for i in range(len(EXAMPLES)):
        tokens = torch.as_tensor(EXAMPLES.tokens(i)).long()[None]
        labels = tokens.clone()
        if objective == "response":
            labels[:, : EXAMPLES.prompt_lengths[i]] = -100
        targets = int((labels[:, 1:] != -100).sum())
        total, count = total + model(input_ids=tokens, labels=labels).loss * targets, count + targets
    return total / count


def gradients(model: torch.nn.Module) -> dict[str, torch.Tensor]:
    return {name: p.grad for name, p in model.named_parameters() if p.grad is not None}


def assert_same(ours: dict[str, torch.Tensor], theirs: dict[str, torch.Tensor]) -> None:
    assert ours.keys() == theirs.keys()
    for name in ours:
        torch.testing.assert_close(
            ours[name], theirs[name], rtol=1e-4, atol=2e-6, msg=lambda m, n=name: f"{n}: {m}"
        )


def test_every_supported_architecture_is_tried() -> None:
    assert set(TINY) == set(ARCHITECTURES)


@pytest.mark.parametrize("chunks", [1, 3])
@pytest.mark.parametrize("kind", ARCHITECTURES)
def test_loss_and_gradients_equal_those_of_transformers(kind: str, chunks: int) -> None:
    for objective in ("response", "clm"):
        reference = toy_model(kind)
        expected = transformers_loss(reference, objective)
        expected.backward()
        module = PackedLoss(fresh_model(toy_base(kind), toy_train_config(), torch.float32))
        loss = packed_loss(module, objective, chunks=chunks)
        loss.backward()
        torch.testing.assert_close(loss, expected, rtol=1e-5, atol=1e-6)
        assert_same(gradients(module.model), gradients(reference))


@pytest.mark.parametrize("kind", ["gptj", "gpt_neox", "llama", "gemma2"])
def test_activation_checkpointing_changes_nothing(kind: str) -> None:
    results = []
    for flag in (False, True):
        config = toy_train_config(model__activation_checkpointing=flag)
        module = PackedLoss(fresh_model(toy_base(kind), config, torch.float32)).train()
        loss = packed_loss(module, "response")
        loss.backward()
        results.append((loss, gradients(module.model)))
    torch.testing.assert_close(results[0][0], results[1][0])
    assert_same(results[0][1], results[1][1])


@pytest.mark.parametrize("kind", ARCHITECTURES)
def test_lora_loss_and_gradients_equal_those_of_peft_on_transformers(kind: str) -> None:
    lora = LoraConfig(rank=3, alpha=7.0)
    config = dataclasses.replace(toy_train_config(), model=ModelConfig(lora=lora))
    torch.manual_seed(5)
    reference = adapt(toy_model(kind), lora).get_base_model()
    torch.manual_seed(6)
    ours = fresh_model(toy_base(kind), config, torch.float32)
    for name, parameter in reference.named_parameters():  # B starts at zero: with it no gradient reaches A
        if "lora_" in name:
            torch.nn.init.normal_(parameter, 0, 0.3)
    ours.load_state_dict({n: p for n, p in reference.state_dict().items() if "lora_" in n}, strict=False)
    expected, loss = transformers_loss(reference, "response"), packed_loss(PackedLoss(ours), "response")
    torch.testing.assert_close(loss, expected, rtol=1e-5, atol=1e-6)
    expected.backward()
    loss.backward()
    assert_same(gradients(ours), gradients(reference))
    assert all("lora_" in name for name in gradients(ours))


def test_the_caps_and_the_window_of_the_toys_matter() -> None:
    """Without this the oracle could pass on models whose special features do nothing."""
    for kind, field in (
        ("gemma2", "final_logit_softcapping"),
        ("gemma2", "attn_logit_softcapping"),
        ("gemma2", "sliding_window"),
        ("mistral", "sliding_window"),
    ):
        base = toy_base(kind)
        module = PackedLoss(fresh_model(base, toy_train_config(), torch.float32))
        with_feature = packed_loss(module, "response").item()
        setattr(base.config, field, 10_000 if field == "sliding_window" else 10_000.0)
        module = PackedLoss(fresh_model(base, toy_train_config(), torch.float32))
        assert abs(packed_loss(module, "response").item() - with_feature) > 1e-3, field
