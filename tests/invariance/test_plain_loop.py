"""A trial against a plain PyTorch loop: fp32, one example at a time, no packing, no DeepSpeed."""

from typing import Any

import pytest
import torch

from tests.invariance.runs import Kept, run_here
from tests.toys import toy_base, toy_model, toy_prepared, toy_train_config
from train_fn.batches import Order
from train_fn.config import TrainConfig
from train_fn.schedule import learning_rate


def token_means(model: torch.nn.Module, chosen: list[int], config: TrainConfig) -> torch.Tensor:
    """The loss of a step, straight from the words that define it."""
    examples = toy_prepared().train
    prompt, answer = [], []
    for i in chosen:
        tokens = torch.as_tensor(examples.tokens(i)).long()
        logits = model(input_ids=tokens[None]).logits[0, :-1]
        nll = torch.nn.functional.cross_entropy(logits, tokens[1:], reduction="none")
        border = int(examples.prompt_lengths[i]) - 1
        prompt.append(nll[:border])
        answer.append(nll[border:])
    prompts, answers = torch.cat(prompt), torch.cat(answer)
    if config.optim.objective == "response":
        return answers.mean()
    if config.optim.objective == "clm":
        return torch.cat([prompts, answers]).mean()
    return (prompts.mean() + answers.mean()) / 2


def plain_loop(config: TrainConfig, kind: str) -> tuple[list[float], dict[str, torch.Tensor]]:
    model, optim = toy_model(kind), config.optim
    examples = toy_prepared().train
    order = Order(examples.sources, (), config.run.seed)
    adam = torch.optim.AdamW(
        model.parameters(),
        lr=optim.lr,
        betas=(optim.beta1, optim.beta2),
        eps=optim.eps,
        weight_decay=optim.weight_decay,
    )
    losses, seen, taken = [], 0, 0
    while seen < config.run.max_tokens:
        chosen = order.take(taken, optim.effective_batch_size).tolist()
        after = seen + int(examples.lengths[chosen].sum())
        adam.param_groups[0]["lr"] = learning_rate(optim, config.run.max_tokens, seen, after)
        loss = token_means(model, chosen, config)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), optim.clip_norm)
        adam.step()
        adam.zero_grad()
        losses.append(loss.item())
        seen, taken = after, taken + optim.effective_batch_size
    return losses, dict(model.state_dict())


CASES: list[dict[str, Any]] = [
    {"optim__objective": "response", "optim__schedule": "cosine", "optim__warmup_tokens": 700},
    {"optim__objective": "clm", "optim__weight_decay": 0.1, "engine__zero_stage": 2},
    {"optim__objective": "balanced", "optim__schedule": "linear", "engine__zero_stage": 3},
    {"optim__objective": "response", "kind": "gemma2", "engine__zero_stage": 1},
    {"optim__objective": "response", "kind": "gptj"},
]


@pytest.mark.parametrize("case", CASES, ids=lambda c: "-".join(str(v) for v in c.values()))
def test_losses_and_weights_after_20_steps(case: dict[str, Any]) -> None:
    # A large eps: without it Adam divides gradients that are rounding noise by their own size
    case = {"optim__lr": 1e-3, "optim__eps": 1e-4, "run__max_tokens": 2200} | case
    kept: Kept = run_here(**case)
    kind = case.pop("kind", "gpt_neox")
    losses, weights = plain_loop(toy_train_config(**case), kind)
    assert len(losses) >= 18
    assert losses[-1] < losses[0]
    torch.testing.assert_close(torch.tensor(kept.losses), torch.tensor(losses), rtol=1e-5, atol=1e-5)
    moved = 0.0
    for name, weight in toy_base(kind).state.items():
        torch.testing.assert_close(kept.weights[name], weights[name], rtol=1e-5, atol=1e-5, msg=name)
        moved = max(moved, (weights[name] - weight).abs().max().item())
    assert moved > 1e-3
