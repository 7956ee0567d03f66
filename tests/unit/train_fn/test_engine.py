"""The optimizer step on DeepSpeed: empty micro-batches, precisions, loss scale."""

import dataclasses
from typing import Any

import numpy as np
import pytest
import torch
from deepspeed.accelerator import get_accelerator

from tests.poisoned import poisoned_base, poisoned_prepared
from tests.toys import toy_base, toy_prepared, toy_train_config
from train_fn.batches import Examples, StepPlan, plan_step
from train_fn.config import TrainConfig
from train_fn.engine import Engine, LossScaleExhaustedError, deepspeed_config, effective_stage
from train_fn.loop import join_group
from train_fn.loss import PackedLoss
from train_fn.model import BaseModel, fresh_model
from train_fn.precision import DTYPES, Chosen

CPU = torch.device("cpu")
TRAIN = toy_prepared().train


def engine_of(config: TrainConfig, precision: Chosen = "fp32", base: BaseModel | None = None) -> Engine:
    join_group(CPU)
    model = fresh_model(base or toy_base(), config, DTYPES[precision])
    return Engine(PackedLoss(model), config, precision, CPU)


def plan_of(config: TrainConfig, examples: Examples = TRAIN, without: int = -1) -> StepPlan:
    room = config.engine.max_tokens_per_micro_batch
    chosen = np.setdiff1d(np.arange(8), [without])
    return plan_step(examples, chosen, config.optim.objective, 0, 1, room)


@pytest.mark.parametrize("stage", [0, 1, 2, 3])
def test_empty_micro_batches_change_nothing(stage: int) -> None:
    config = toy_train_config(engine__zero_stage=stage, optim__eps=1e-4)
    figures = []
    for empties in (0, 1, 3):
        plan = plan_of(config)
        more = {"micro_batches": ((),) * empties + plan.micro_batches + ((),) * empties}
        more["head_chunks"] = (1,) * len(more["micro_batches"])
        engine = engine_of(config)
        steps = [engine.step(TRAIN, dataclasses.replace(plan, **more), "response", 1e-3) for _ in range(3)]
        figures.append([x for s in steps for x in (float(s.loss), float(s.grad_norm))])
        engine.destroy()
    assert figures[0] == pytest.approx(figures[1], rel=1e-5)
    assert figures[0] == pytest.approx(figures[2], rel=1e-5)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("stage", [0, 1, 2, 3])
def test_trying_a_step_leaves_no_trace_and_a_step_that_is_not_finite_none_either(
    stage: int, precision: Chosen
) -> None:
    config = toy_train_config(engine__zero_stage=stage, engine__max_tokens_per_micro_batch=48)
    broken = poisoned_prepared([3]).train
    plan, rest = plan_of(config, broken), plan_of(config, broken, without=3)
    assert len(rest.micro_batches) > 1
    figures = []
    for disturbed in (False, True):
        engine = engine_of(config, precision, poisoned_base())
        for _ in range(3):
            if disturbed:
                assert not engine.is_finite(broken, plan, "response")
                assert engine.is_finite(broken, rest, "response")
                assert engine.step(broken, plan, "response", 1e-3).discarded
            step = engine.step(broken, rest, "response", 1e-3)
            assert not step.discarded
            figures.append((float(step.loss), float(step.grad_norm)))
        engine.destroy()
    assert figures[:3] == figures[3:]
    assert figures[2][0] < figures[0][0], "it learns"


def test_clipping_is_told_before_it_happens_and_limits_the_step() -> None:
    for stage in (0, 1):
        norms = {}
        for clip in (0.0, 0.01):
            config = toy_train_config(engine__zero_stage=stage, optim__clip_norm=clip)
            engine = engine_of(config)
            norms[clip] = float(engine.step(TRAIN, plan_of(config), "response", 1e-3).grad_norm)
            engine.destroy()
        assert norms[0.0] == pytest.approx(norms[0.01], rel=1e-5)
        assert norms[0.0] > 0.1


def test_16_bit_runs_at_least_at_stage_1_with_fp32_accumulation() -> None:
    for precision in ("bf16", "fp16"):
        config = toy_train_config()
        settings: dict[str, Any] = deepspeed_config(config, precision, CPU)
        assert effective_stage(config, precision) == settings["zero_optimization"]["stage"] == 1
        assert settings["data_types"] == {"grad_accum_dtype": "fp32"}
    assert effective_stage(toy_train_config(), "fp32") == 0


def test_bf16_learns() -> None:
    if not get_accelerator().is_bf16_supported():
        pytest.skip("this device does not support bf16")
    for stage in (1, 2, 3):
        config = toy_train_config(engine__zero_stage=stage)
        engine = engine_of(config, "bf16")
        losses = [float(engine.step(TRAIN, plan_of(config), "response", 1e-2).loss) for _ in range(10)]
        engine.destroy()
        assert losses[-1] < losses[0] - 0.3


def needs_fp16() -> None:
    if not get_accelerator().is_fp16_supported():
        pytest.skip("this device does not support fp16 (on a CPU: AVX512-FP16)")


def test_fp16_overflows_lower_the_scale_and_are_counted() -> None:
    needs_fp16()
    config = toy_train_config(engine__initial_scale_power=32, engine__hysteresis=1)
    engine = engine_of(config, "fp16")
    steps = [engine.step(TRAIN, plan_of(config), "response", 1e-2) for _ in range(30)]
    assert steps[0].loss_scale == 2.0**32
    assert engine.skipped_steps == sum(s.overflowed for s in steps) > 5
    assert steps[0].overflowed
    assert not steps[-1].overflowed
    assert float(steps[-1].loss) < float(steps[0].loss)
    engine.destroy()


def test_fp16_at_its_smallest_scale_is_told_apart_from_a_crash() -> None:
    needs_fp16()
    config = toy_train_config(
        engine__initial_scale_power=32, engine__min_loss_scale=2.0**31, engine__hysteresis=1
    )
    engine = engine_of(config, "fp16")
    with pytest.raises(LossScaleExhaustedError):
        [engine.step(TRAIN, plan_of(config), "response", 1e-2) for _ in range(10)]
    engine.destroy()
