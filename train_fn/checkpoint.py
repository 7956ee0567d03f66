"""Checkpoints of a running trial, and the weights of a finished one.

A checkpoint is written beside the others under a temporary name and renamed when it is whole, so one that can
be found is complete. Only the newest is kept. Layout below the trial's workspace:

    checkpoints/tokens-000000123456/state/...          DeepSpeed's own files (weights, optimizer, loss scale)
    checkpoints/tokens-000000123456/rng-<rank>.safetensors
    checkpoints/tokens-000000123456/progress.json      position in the data, counters, curve
    weights/                                           what `transformers` loads
    weights/adapter/                                   the LoRA adapter alone, as `peft` loads it
"""

import dataclasses
import json
import os
import shutil
from pathlib import Path
from typing import Any

import torch
from deepspeed.runtime.checkpoint_engine.torch_checkpoint_engine import TorchCheckpointEngine
from deepspeed.runtime.fp16.loss_scaler import DynamicLossScaler, LossScaler
from deepspeed.runtime.zero.config import ZeroStageEnum
from deepspeed.utils.tensor_fragment import fragment_address
from safetensors.torch import load_file, save_file
from torch import Tensor, distributed

from train_fn.config import LoraConfig, TrainConfig
from train_fn.engine import Engine, gathered
from train_fn.loss import PackedLoss
from train_fn.model import BaseModel, adapt, fresh_model

PREFIX = "tokens-"
SAFE_CLASSES = [LossScaler, DynamicLossScaler, ZeroStageEnum, fragment_address]
"""What DeepSpeed's files hold besides tensors and plain values."""


class _SafeCheckpointEngine(TorchCheckpointEngine):  # type: ignore[misc]
    """DeepSpeed's file format, read without running code that a file may hold."""

    def load(self, path: str, map_location: Any = None) -> Any:
        with torch.serialization.safe_globals(SAFE_CLASSES):
            return torch.load(path, map_location=map_location, weights_only=True)


def save(engine: Engine, workspace: Path, tokens_seen: int, progress: dict[str, Any]) -> None:
    """Write a checkpoint and drop older ones. Every rank must call it.

    Args:
        engine: Of the trial.
        workspace: The trial's folder, the same on all ranks.
        tokens_seen: Names the checkpoint.
        progress: JSON-able; rank 0's is kept.
    """
    parent = workspace / "checkpoints"
    final, partial = parent / f"{PREFIX}{tokens_seen:012d}", parent / f".partial-{tokens_seen:012d}"
    rank = distributed.get_rank()
    if rank == 0:
        shutil.rmtree(partial, ignore_errors=True)  # what a crash left behind
        partial.mkdir(parents=True)
    distributed.barrier()
    engine.deepspeed.save_checkpoint(
        str(partial), tag="state", save_latest=False, exclude_frozen_parameters=True
    )
    save_file(_rng_state(engine.device), partial / f"rng-{rank}.safetensors")
    if rank == 0:
        (partial / "progress.json").write_text(json.dumps(progress))
    distributed.barrier()
    if rank == 0:
        shutil.rmtree(final, ignore_errors=True)
        os.replace(partial, final)
        for old in _complete(workspace)[:-1]:
            shutil.rmtree(old, ignore_errors=True)
    distributed.barrier()


def load_newest(engine: Engine, workspace: Path) -> dict[str, Any] | None:
    """Restore the newest checkpoint and return its progress, or None. Every rank must call it."""
    found = _complete(workspace)
    if not found:
        return None
    folder, rank = found[-1], distributed.get_rank()
    engine.deepspeed.checkpoint_engine = _SafeCheckpointEngine()
    loaded, _ = engine.deepspeed.load_checkpoint(str(folder), tag="state", load_module_strict=False)
    assert loaded is not None, f"{folder} holds no DeepSpeed state"
    rng = load_file(folder / f"rng-{rank}.safetensors")
    torch.set_rng_state(rng["cpu"])
    if "cuda" in rng:
        torch.cuda.set_rng_state(rng["cuda"], engine.device)
    progress: dict[str, Any] = json.loads((folder / "progress.json").read_text())
    return progress


def remove(workspace: Path) -> None:
    """Remove all checkpoints of a trial that will not go on."""
    shutil.rmtree(workspace / "checkpoints", ignore_errors=True)


def _complete(workspace: Path) -> list[Path]:
    return sorted((workspace / "checkpoints").glob(f"{PREFIX}*"))


def _rng_state(device: torch.device) -> dict[str, Tensor]:
    state = {"cpu": torch.get_rng_state()}
    if device.type == "cuda":
        state["cuda"] = torch.cuda.get_rng_state(device)
    return state


def export_weights(
    engine: Engine, base: BaseModel, config: TrainConfig, dtype: torch.dtype, folder: Path
) -> None:
    """Write the weights as `transformers` loads them (safetensors), LoRA merged in. Every rank must call it.

    Args:
        engine: Of the trial; its weights stay as they are.
        base: The base model of the trial.
        config: The trial.
        dtype: What the weights are written in.
        folder: Appears whole or not at all.
    """
    module = engine.deepspeed.module
    assert isinstance(module, PackedLoss)
    lead = distributed.get_rank() == 0
    state: dict[str, Tensor] = {}
    for name, parameter in module.model.named_parameters():  # one at a time: no rank holds two whole models
        with gathered([parameter]):
            if lead:
                state[name] = parameter.detach().to("cpu", dtype, copy=True)
    if lead:
        partial = folder.with_name(f".{folder.name}.partial")
        shutil.rmtree(partial, ignore_errors=True)
        if config.model.lora.rank > 0:
            model = _merged(base, config, dtype, state, partial / "adapter")
        else:
            model = fresh_model(base, config, dtype)
            model.load_state_dict(state, strict=False)
        model.config._attn_implementation = "eager"  # our attention is no business of whoever loads it
        model.save_pretrained(partial)
        shutil.rmtree(folder, ignore_errors=True)
        os.replace(partial, folder)
    distributed.barrier()


def _merged(
    base: BaseModel, config: TrainConfig, dtype: torch.dtype, state: dict[str, Tensor], adapter: Path
) -> Any:
    """Return the model with its LoRA layers merged in; the adapter alone is written to a folder before."""
    plain = dataclasses.replace(config, model=dataclasses.replace(config.model, lora=LoraConfig()))
    wrapped = adapt(fresh_model(base, plain, dtype), config.model.lora)
    wrapped.get_base_model().load_state_dict(state, strict=False)
    wrapped.peft_config["default"].base_model_name_or_path = config.model.path
    wrapped.save_pretrained(adapter, save_embedding_layers=False)  # it would ask the Hub about the base
    return wrapped.merge_and_unload()
