"""How much memory a trial needs, computed from the sizes of its model.

What lies there between steps follows ZeRO (Rajbhandari et al. 2020, arXiv:1910.02054, section 5), with what
DeepSpeed 0.19.8 really allocates beside it. Activations are counted as in Korthikanti et al. 2022
(arXiv:2205.05198, section 4.1): what the backward pass needs of each operation, here for the modules of
transformers with an attention that keeps no score matrix. A test compares the count with what autograd saves.
"""

from dataclasses import dataclass

from search.cluster import GIB
from search.model_shape import ModelShape
from train_fn.batches import HEAD_CHUNK_TOKENS
from train_fn.config import Precision, TrainConfig

MASTER_AND_MOMENTS_BYTES = 12
"""Per trained parameter: fp32 weight and Adam's two moments (the paper's K)."""
MOMENTS_BYTES = 8
REDUCE_BUCKET = 500_000_000
"""Elements of DeepSpeed's buffer for reducing gradients; allocated whole, whatever the model's size."""
PREFETCH_BUCKET = 50_000_000
"""Elements that ZeRO-3 gathers ahead."""
STEP_GROUP = 1_000_000_000
"""Elements that ZeRO-3 steps at once."""
CPU_RUNTIME_GIB = 0.6
"""Measured: a process that has imported torch, transformers, DeepSpeed and Ray."""
GPU_RUNTIME_GIB = 1.5
"""Assumed: CUDA context, NCCL buffers, and what the allocator cannot use."""


@dataclass(frozen=True)
class MemoryEstimate:
    """Peak memory of one rank, in GiB. Without a GPU everything lies in the host's memory."""

    weights_gib: float
    gradients_gib: float
    optimizer_gib: float
    activations_gib: float
    logits_gib: float
    communication_gib: float
    """Buffers for reducing gradients, and the layers that ZeRO-3 has gathered."""
    step_gib: float
    """Copy of the gradients during the optimizer step, when activations are gone."""
    runtime_gib: float
    offloaded_gib: float
    """In the host's memory, for an offloaded optimizer."""
    copied_gib: float
    """In the host's memory while a checkpoint is written: trained weights and optimizer states."""

    @property
    def working_gib(self) -> float:
        """Peak of what comes and goes: the backward pass or the optimizer step, whichever is larger."""
        return max(self.activations_gib + self.logits_gib + self.communication_gib, self.step_gib)

    def host_gib(self, gpu: bool) -> float:
        """Return the peak in the host's memory; without a GPU that is where it trains."""
        return self.offloaded_gib + self.copied_gib + (self.runtime_gib if gpu else self.total_gib)

    @property
    def total_gib(self) -> float:
        """Peak on the device that trains."""
        fixed = self.weights_gib + self.gradients_gib + self.optimizer_gib + self.runtime_gib
        return fixed + self.working_gib


def planned_precision(wanted: Precision, gpu: bool) -> Precision:
    """Return the precision a trial will choose (a GPU without bf16 takes fp16: as large)."""
    if wanted != "auto":
        return wanted
    return "bf16" if gpu else "fp32"


def zero_stage(config: TrainConfig, precision: Precision) -> int:
    """Return the ZeRO stage that runs: 16 bits need at least stage 1 (`train_fn.engine.effective_stage`)."""
    return config.engine.zero_stage if precision == "fp32" else max(config.engine.zero_stage, 1)


def estimate(
    shape: ModelShape, config: TrainConfig, ranks: int, precision: Precision, gpu: bool
) -> MemoryEstimate:
    """Estimate the peak memory of one rank.

    Args:
        shape: Of the base model.
        config: The trial.
        ranks: Ranks of the trial.
        precision: From `planned_precision`.
        gpu: Whether ranks train on GPUs.
    """
    size = 4 if precision == "fp32" else 2
    stage = zero_stage(config, precision)
    trained = shape.trainable(config.model)
    stored = shape.parameters + (trained if config.model.lora.rank else 0)
    offload = config.engine.offload_optimizer and stage > 0
    states = optimizer = _optimizer_bytes(trained, stage, ranks)
    gradients = _gradient_bytes(trained, stage, ranks)
    offloaded = 0.0
    if offload:
        offloaded = optimizer + (4 + size) * trained / ranks
        optimizer, gradients = 0.0, gradients if stage == 1 else 0.0
    return MemoryEstimate(
        weights_gib=size * stored / (ranks if stage == 3 else 1) / GIB,
        gradients_gib=gradients / GIB,
        optimizer_gib=optimizer / GIB,
        activations_gib=activation_bytes(shape, config, precision) / GIB,
        logits_gib=logit_bytes(shape, config, size) / GIB,
        communication_gib=_communication_bytes(shape, trained, stage, size, ranks, gpu) / GIB,
        step_gib=0.0 if offload else _step_bytes(trained, stage, ranks) / GIB,
        runtime_gib=GPU_RUNTIME_GIB if gpu else CPU_RUNTIME_GIB,
        offloaded_gib=offloaded / GIB,
        copied_gib=(size * trained / (ranks if stage == 3 else 1) + states) / GIB,
    )


def _optimizer_bytes(trained: int, stage: int, ranks: int) -> float:
    """Under ZeRO DeepSpeed keeps a master copy of fp32 weights as well."""
    return MOMENTS_BYTES * trained if stage == 0 else MASTER_AND_MOMENTS_BYTES * trained / ranks


def _gradient_bytes(trained: int, stage: int, ranks: int) -> float:
    """Gradients are kept in fp32 whatever the precision, because micro-batches add up in them."""
    return 4 * trained / (ranks if stage >= 2 else 1)


def _step_bytes(trained: int, stage: int, ranks: int) -> float:
    """ZeRO steps on a flat copy of the rank's gradients."""
    if stage == 0:
        return 0.0
    return 4 * min(trained / ranks, STEP_GROUP if stage == 3 else trained)


def _communication_bytes(
    shape: ModelShape, trained: int, stage: int, size: int, ranks: int, gpu: bool
) -> float:
    touched = min(REDUCE_BUCKET, trained)
    if stage == 0:
        return 4.0 * touched if ranks > 1 else 0.0
    # A host gives pages only to what is written; a GPU gives all that is asked for.
    bucket = (4 if stage == 1 else size) * (REDUCE_BUCKET if gpu else touched)
    if stage < 3:
        return float(bucket)
    largest = max(shape.layer_parameters, shape.embedding_parameters)
    return float(bucket + size * min(shape.parameters, largest + PREFETCH_BUCKET))


def activation_bytes(shape: ModelShape, config: TrainConfig, precision: Precision) -> float:
    """Return the bytes that autograd keeps of one micro-batch, logits excluded.

    With activation checkpointing only layer inputs are kept, and one layer at a time is computed again.
    """
    tokens = config.engine.max_tokens_per_micro_batch
    size = 4 if precision == "fp32" else 2
    layer = layer_token_bytes(shape, precision, config.data.max_example_tokens)
    if config.model.activation_checkpointing:
        return float(tokens * (shape.layers * shape.hidden * size + layer))
    return float(tokens * shape.layers * layer)


def layer_token_bytes(shape: ModelShape, precision: Precision, example_tokens: int) -> int:
    """Return the bytes that autograd keeps per token and layer.

    Args:
        shape: Of the model.
        precision: Of the trial.
        example_tokens: Length of the example the token is in; only soft-capped attention keeps its scores.
    """
    size = 4 if precision == "fp32" else 2
    attended = shape.heads * shape.head_size
    keys = shape.key_value_heads * shape.head_size
    statistics = 4 * shape.heads  # log-sum-exp of the softmax
    if shape.kind == "gptj":
        # norm: input, output; attention: q, k, v, output, output merged; MLP: five steps of tanh-GELU
        wide = 8 * attended if precision == "fp16" else 0  # its attention runs in fp32
        return size * (2 * shape.hidden + 5 * attended + 5 * shape.intermediate) + wide + statistics
    if shape.kind == "gpt_neox":
        # two norms of one input; the fused q, k, v, rotated q and k, output, output merged; GELU in and out
        return size * (3 * shape.hidden + 7 * attended + 2 * shape.intermediate) + statistics
    return _llama_like_bytes(shape, size, attended, keys, statistics, example_tokens)


def _llama_like_bytes(
    shape: ModelShape, size: int, attended: int, keys: int, statistics: int, example_tokens: int
) -> int:
    gemma = shape.kind.startswith("gemma")
    norm = 8 if gemma else 4 + size  # RMSNorm in transformers: its input in fp32, and the normalised values
    norms = 4 if shape.kind in ("gemma2", "gemma3_text") else 2
    mlp = size * 4 * shape.intermediate  # gate, activated gate, up, product
    common = size * 2 * shape.hidden + norms * norm * shape.hidden + mlp
    if shape.kind == "gemma2":  # caps its scores: capped in `size`, softmax in fp32 and again in `size`
        scores = shape.heads * example_tokens * 8
        return common + size * 4 * attended + scores
    query_key_norms = norm * (attended + keys) if shape.kind in ("qwen3", "gemma3_text") else 0
    return common + size * (3 * attended + 2 * keys) + query_key_norms + statistics


def logit_bytes(shape: ModelShape, config: TrainConfig, size: int) -> float:
    """Return the peak bytes of logits: a chunk of loss positions, its log-softmax and gradient."""
    positions = min(config.engine.max_tokens_per_micro_batch, HEAD_CHUNK_TOKENS)
    capped = 8 if shape.kind == "gemma2" else 0
    return float(positions * shape.vocabulary * (8 + (size if size == 2 else 0) + capped))


def checkpoint_gib(shape: ModelShape, config: TrainConfig, precision: Precision) -> float:
    """Return the size of one checkpoint: trained weights, fp32 master copy and moments, over all ranks."""
    size = 4 if precision == "fp32" else 2
    trained = shape.trainable(config.model)
    return (size * trained + _optimizer_bytes(trained, zero_stage(config, precision), 1)) / GIB


def weights_gib(shape: ModelShape, precision: Precision) -> float:
    """Return the size of the exported weights, adapters merged in."""
    return (4 if precision == "fp32" else 2) * shape.parameters / GIB
