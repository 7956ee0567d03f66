"""The estimates against what really happens: saved activations, the tensors of a real DeepSpeed engine."""

import dataclasses
import gc
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers import AutoConfig, AutoModelForCausalLM

from search.cluster import GIB
from search.memory import (
    MemoryEstimate,
    activation_bytes,
    checkpoint_gib,
    estimate,
    layer_token_bytes,
    planned_precision,
    weights_gib,
    zero_stage,
)
from search.model_config import KNOWN
from search.model_shape import LORA_TARGETS, ModelShape, shape_of
from tests.toys import TINY, ToyExamples, toy_base, toy_config
from train_fn.batches import build_micro_batch, plan_step
from train_fn.config import EngineConfig, LoraConfig, ModelConfig, Precision, TrainConfig
from train_fn.engine import Engine, effective_stage
from train_fn.loss import PackedLoss, inputs_on
from train_fn.model import BaseModel, fresh_model

GPT_J = shape_of(KNOWN["eleutherai/gpt-j-6b"], "EleutherAI/gpt-j-6b")
EXAMPLE_TOKENS, EXAMPLES = 32, 4


def train_config(model: ModelConfig | None = None, **engine: Any) -> TrainConfig:
    return TrainConfig(model=model or ModelConfig(), engine=EngineConfig(**engine))


def toy_rows() -> ToyExamples:
    rows = tuple(np.ones(EXAMPLE_TOKENS, np.int32) for _ in range(EXAMPLES))
    return ToyExamples(rows, np.full(EXAMPLES, 24, np.int32), np.zeros(EXAMPLES, np.int16))


def saved_bytes(kind: str, layers: int, dtype: torch.dtype) -> tuple[int, ModelShape]:
    """Return what autograd saves in a forward pass, weights excluded, and the model's shape."""
    sizes = dict(TINY[kind]) | {"n_layer" if kind == "gptj" else "num_hidden_layers": layers}
    if "sliding_window" in sizes:
        sizes["sliding_window"] = 64
    if "layer_types" in sizes:
        sizes["layer_types"] = ["full_attention"] * layers
    special = {"vocab_size": 61, "pad_token_id": 0, "bos_token_id": 0, "eos_token_id": 0}
    config = AutoConfig.for_model(kind, **({} if kind == "gptj" else {"hidden_size": 32}), **special, **sizes)
    model = AutoModelForCausalLM.from_config(config, dtype=dtype)
    tied = set(model.all_tied_weights_keys) & set(model.state_dict())
    base = BaseModel(config, {k: v for k, v in model.state_dict().items() if k not in tied}, "toy", 0)
    module = PackedLoss(fresh_model(base, TrainConfig(), dtype))
    examples = toy_rows()
    plan = plan_step(examples, np.arange(EXAMPLES), "response", 0, 1, EXAMPLES * EXAMPLE_TOKENS)
    batch = build_micro_batch(examples, plan.micro_batches[0], "response", plan)
    own = {p.untyped_storage().data_ptr() for p in module.parameters()}
    saved: dict[int, tuple[int, torch.Tensor]] = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            saved[storage.data_ptr()] = (storage.nbytes(), tensor)
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        module(**inputs_on(batch, torch.device("cpu")), head_chunks=1)
    return sum(size for size, _ in saved.values()), shape_of(config.to_dict(), "toy")


@pytest.mark.parametrize("kind", sorted(LORA_TARGETS))
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_layer_keeps_what_autograd_saves_of_it(kind: str, precision: Precision) -> None:
    dtype = torch.float32 if precision == "fp32" else torch.bfloat16
    two, _ = saved_bytes(kind, 2, dtype)
    four, shape = saved_bytes(kind, 4, dtype)
    per_token = (four - two) / 2 / (EXAMPLES * EXAMPLE_TOKENS)
    assert layer_token_bytes(shape, precision, EXAMPLE_TOKENS) == pytest.approx(per_token, rel=0.05)


def test_korthikantis_count_is_the_same_order() -> None:
    """34 bytes per hidden unit in 16 bits, dropout masks included and scores excluded (their equation 2)."""
    config = train_config(max_tokens_per_micro_batch=2048)
    theirs = 34 * 2048 * GPT_J.hidden * GPT_J.layers
    assert 1.0 < activation_bytes(GPT_J, config, "bf16") / theirs < 2.0, "GPT-J's GELU keeps three steps more"


def live_bytes() -> dict[int, int]:
    """Return the bytes of every tensor alive, by address; DeepSpeed's untouched buckets left out."""
    gc.collect()
    sizes = {}
    for thing in gc.get_objects():
        if type(thing) in (torch.Tensor, torch.nn.Parameter):
            storage = thing.untyped_storage()
            if storage.nbytes() < 10**9:
                sizes[storage.data_ptr()] = storage.nbytes()
    return sizes


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("stage", [0, 1, 2, 3])
@pytest.mark.parametrize("rank", [0, 16])
def test_an_engine_between_steps_holds_weights_and_optimizer(
    precision: Any, stage: int, rank: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One rank, so nothing is shared: what lives after a step is the fixed part of the estimate."""
    model = ModelConfig(lora=LoraConfig(rank=rank))
    config = train_config(model, zero_stage=stage, precision=precision, max_tokens_per_micro_batch=512)
    dtype = torch.float32 if precision == "fp32" else torch.bfloat16
    base, examples = toy_base("llama"), toy_rows()
    monkeypatch.setenv("LOCAL_RANK", "0")  # DeepSpeed refuses to start without it
    if not torch.distributed.is_initialized():
        torch.distributed.init_process_group(
            "gloo", store=torch.distributed.HashStore(), rank=0, world_size=1
        )
    plan = plan_step(examples, np.arange(EXAMPLES), "response", 0, 1, 512)
    before = live_bytes()
    engine = Engine(PackedLoss(fresh_model(base, config, dtype)), config, precision, torch.device("cpu"))
    engine.step(examples, plan, "response", 1e-3)
    engine.deepspeed.zero_grad()
    alive = sum(size for address, size in live_bytes().items() if address not in before)
    engine.destroy()
    want = estimate(shape_of(base.config.to_dict(), "toy"), config, 1, precision, gpu=False)
    fixed = (want.weights_gib + want.optimizer_gib) * GIB
    assert 0.95 * fixed <= alive <= 1.05 * (fixed + want.gradients_gib * GIB)


shapes = st.builds(
    lambda kind, heads, layers: shape_of(
        toy_config(kind).to_dict() | {"num_attention_heads": heads, "n_layer": layers}, kind
    ),
    st.sampled_from(["gptj", "gpt_neox", "llama"]),
    st.sampled_from([4, 8]),
    st.integers(1, 64),
)
engines = st.fixed_dictionaries(
    {
        "zero_stage": st.integers(0, 3),
        "offload_optimizer": st.booleans(),
        "max_tokens_per_micro_batch": st.sampled_from([512, 2048, 8192]),
    }
)
precisions: st.SearchStrategy[Precision] = st.sampled_from(["fp32", "bf16", "fp16"])


def parts(want: MemoryEstimate) -> list[float]:
    return [*dataclasses.astuple(want), want.working_gib, want.total_gib]


@given(shapes, engines, precisions, st.integers(1, 64), st.integers(1, 64), st.booleans())
def test_more_ranks_never_need_more_under_zero(
    shape: ModelShape, engine: dict[str, Any], precision: Precision, few: int, more: int, gpu: bool
) -> None:
    config = train_config(**engine)
    if zero_stage(config, precision) == 0:
        return
    many = parts(estimate(shape, config, few + more, precision, gpu))
    assert all(m <= f for m, f in zip(many, parts(estimate(shape, config, few, precision, gpu)), strict=True))


@given(shapes, engines, precisions, st.integers(1, 64), st.booleans())
def test_higher_stages_keep_less(
    shape: ModelShape, engine: dict[str, Any], precision: Precision, ranks: int, gpu: bool
) -> None:
    kept = []
    for stage in (1, 2, 3):
        want = estimate(shape, train_config(**engine | {"zero_stage": stage}), ranks, precision, gpu)
        kept.append(want.weights_gib + want.gradients_gib + want.optimizer_gib)
    assert kept == sorted(kept, reverse=True)


@given(shapes, engines, precisions, st.integers(1, 64), st.booleans())
def test_checkpointing_adapters_and_offload_never_need_more(
    shape: ModelShape, engine: dict[str, Any], precision: Precision, ranks: int, gpu: bool
) -> None:
    plain = estimate(shape, train_config(**engine), ranks, precision, gpu)
    checkpointing = ModelConfig(activation_checkpointing=True)
    if shape.layers > 1:
        thrifty = estimate(shape, train_config(checkpointing, **engine), ranks, precision, gpu)
        assert thrifty.activations_gib < plain.activations_gib
    offloaded = estimate(shape, train_config(**engine | {"offload_optimizer": True}), ranks, precision, gpu)
    assert offloaded.total_gib <= plain.total_gib
    assert offloaded.offloaded_gib >= plain.offloaded_gib
    adapters = ModelConfig(lora=LoraConfig(rank=1))
    assert (
        estimate(shape, train_config(adapters, **engine), ranks, precision, gpu).optimizer_gib
        <= plain.optimizer_gib
    )


def test_gpt_j_under_zero_is_what_the_paper_says() -> None:
    """2 + 2 + 12 bytes per parameter (section 3.1), with gradients in fp32 here: 2 + 4 + 12."""
    config = train_config(zero_stage=1)
    want = estimate(GPT_J, config, 1, "bf16", gpu=True)
    assert want.weights_gib + want.gradients_gib + want.optimizer_gib == pytest.approx(
        18 * GPT_J.parameters / GIB
    )
    shared = estimate(GPT_J, train_config(zero_stage=3), 8, "bf16", gpu=True)
    fixed = shared.weights_gib + shared.gradients_gib + shared.optimizer_gib
    assert fixed == pytest.approx(18 / 8 * GPT_J.parameters / GIB)


def test_the_copies_of_all_ranks_are_a_checkpoint_and_lie_on_the_host() -> None:
    for stage, ranks in ((0, 1), (1, 1), (3, 4)):
        config = train_config(zero_stage=stage)
        want = estimate(GPT_J, config, ranks, "fp32", True)
        assert ranks * want.copied_gib == pytest.approx(checkpoint_gib(GPT_J, config, "fp32"))
        assert want.host_gib(gpu=True) == pytest.approx(want.copied_gib + want.runtime_gib)
        assert want.host_gib(gpu=False) == pytest.approx(want.copied_gib + want.total_gib)


def test_checkpoints_and_weights_are_as_large_as_their_numbers() -> None:
    config = train_config(zero_stage=2)
    assert checkpoint_gib(GPT_J, config, "bf16") == pytest.approx(14 * GPT_J.parameters / GIB)
    assert checkpoint_gib(GPT_J, train_config(), "fp32") == pytest.approx(12 * GPT_J.parameters / GIB)
    assert weights_gib(GPT_J, "bf16") == pytest.approx(2 * GPT_J.parameters / GIB)


def test_precision_and_stage_are_those_that_run() -> None:
    assert planned_precision("auto", gpu=True) == "bf16"
    assert planned_precision("auto", gpu=False) == "fp32"
    assert planned_precision("fp16", gpu=False) == "fp16"
    for stage in range(4):
        for precision in ("fp32", "bf16", "fp16"):
            config = train_config(zero_stage=stage)
            assert zero_stage(config, precision) == effective_stage(config, precision)
