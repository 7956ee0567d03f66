"""What the engine does only on a GPU."""

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import pytest
import torch

from tests.invariance.runs import run_here
from tests.toys import toy_base, toy_prepared, toy_train_config
from train_fn.batches import StepPlan, build_micro_batch, plan_step
from train_fn.config import TrainConfig
from train_fn.engine import Engine
from train_fn.loop import join_group
from train_fn.loss import PackedLoss, inputs_on
from train_fn.model import fresh_model
from train_fn.precision import DTYPES, Chosen, choose_precision, trial_device

pytestmark = pytest.mark.gpu
TRAIN = toy_prepared().train


def engine_of(config: TrainConfig, precision: Chosen, kind: str = "gpt_neox") -> Engine:
    device = trial_device()
    join_group(device)
    model = fresh_model(toy_base(kind), config, DTYPES[precision], device)
    return Engine(PackedLoss(model), config, precision, device)


def plan_of(config: TrainConfig) -> StepPlan:
    return plan_step(TRAIN, np.arange(8), "response", 0, 1, config.engine.max_tokens_per_micro_batch)


def losses(config: TrainConfig, precision: Chosen, kind: str = "gpt_neox") -> list[float]:
    engine = engine_of(config, precision, kind)
    found = [float(engine.step(TRAIN, plan_of(config), "response", 1e-3).loss) for _ in range(5)]
    engine.destroy()
    return found


@contextmanager
def no_wait() -> Iterator[None]:
    torch.cuda.set_sync_debug_mode("error")
    try:
        yield
    finally:
        torch.cuda.set_sync_debug_mode("default")


@pytest.mark.parametrize("kind", ["gpt_neox", "gptj", "llama", "gemma2", "mistral"])
@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_16_bits_with_their_own_attention_learn_as_fp32_does(precision: Chosen, kind: str) -> None:
    if precision == "bf16" and choose_precision("auto", trial_device())[0] == "fp16":
        pytest.skip("this GPU has no bf16")
    config = toy_train_config(engine__initial_scale_power=8, optim__eps=1e-4)
    assert losses(config, precision, kind) == pytest.approx(losses(config, "fp32", kind), rel=0.03)


@pytest.mark.parametrize("stage", [1, 2])
def test_overlapped_reduction_changes_no_loss(stage: int) -> None:
    plain, overlapped = (
        toy_train_config(engine__zero_stage=stage, engine__overlap_comm=flag) for flag in (False, True)
    )
    assert losses(overlapped, "fp32") == pytest.approx(losses(plain, "fp32"), rel=1e-5)


def test_compiled_layers_change_no_loss() -> None:
    plain, compiled = (
        run_here(engine__compile=flag, engine__precision="fp32", optim__eps=1e-4) for flag in (False, True)
    )
    assert compiled.losses == pytest.approx(plain.losses, rel=1e-4)


def test_a_micro_batch_never_waits_for_the_gpu() -> None:
    config = toy_train_config()
    engine = engine_of(config, "bf16")
    engine.step(TRAIN, plan_of(config), "response", 1e-3)
    with no_wait():
        engine._accumulate(TRAIN, plan_of(config), "response", closed=False)
    engine.destroy()


def test_inputs_are_copied_without_a_wait() -> None:
    plan = plan_of(toy_train_config())
    batch = build_micro_batch(TRAIN, plan.micro_batches[0], "response", plan)
    with no_wait():
        moved = inputs_on(batch, trial_device())
    for name, tensor in inputs_on(batch, torch.device("cpu")).items():
        torch.testing.assert_close(moved[name].cpu(), tensor)


def test_adam_is_fused() -> None:
    engine = engine_of(toy_train_config(), "fp32")
    assert all(group["fused"] for group in engine.deepspeed.optimizer.param_groups)
    engine.destroy()
