"""Checkpoints of a running trial, and the weights of a finished one.

A checkpoint is copied to host memory and written by `train_fn.checkpoint_writer` while the training goes on.
Layout below the trial's workspace:

    checkpoints/tokens-000000123456/state/...          DeepSpeed's own files (weights, optimizer, loss scale)
    checkpoints/tokens-000000123456/rng-<rank>.safetensors
    checkpoints/tokens-000000123456/progress.json      position in the data, counters, curve
    checkpoints/tokens-000000123456/manifest.json      see `train_fn.checkpoint_files`
    weights/                                           what `transformers` loads
    weights/adapter/                                   the LoRA adapter alone, as `peft` loads it
"""

import copy
import dataclasses
import json
import os
import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
from deepspeed.runtime.checkpoint_engine.torch_checkpoint_engine import TorchCheckpointEngine
from deepspeed.runtime.fp16.loss_scaler import DynamicLossScaler, LossScaler
from deepspeed.runtime.zero.config import ZeroStageEnum
from deepspeed.utils.tensor_fragment import fragment_address
from safetensors.torch import load_file, save_file
from torch import Tensor, distributed
from torch.utils._pytree import tree_map

from train_fn.checkpoint_files import complete_folders, find_problem, remove_partial, tokens_of
from train_fn.checkpoint_writer import Copy, Write
from train_fn.config import LoraConfig, TrainConfig
from train_fn.disk import DISK_ERRORS, share_weights, unwritten
from train_fn.engine import Engine, gathered
from train_fn.errors import InputError
from train_fn.loss import PackedLoss
from train_fn.model import BaseModel, adapt, fresh_model
from train_fn.ranks import from_all_ranks, from_rank_0

SAFE_CLASSES = [LossScaler, DynamicLossScaler, ZeroStageEnum, fragment_address]
"""What DeepSpeed's files hold besides tensors and plain values."""
_TAG = "state"


class _Held(TorchCheckpointEngine):  # type: ignore[misc]
    """DeepSpeed's files: noted instead of written, and read without running code in them."""

    def __init__(self) -> None:
        super().__init__()
        self.files: dict[str, Copy] = {}

    def makedirs(self, path: str, exist_ok: bool = False) -> None:
        """Leave the disk alone."""

    def save(self, state_dict: Any, path: str) -> None:
        self.files[str(Path(path))] = partial(_copied, state_dict)

    def load(self, path: str, map_location: Any = None) -> Any:
        with torch.serialization.safe_globals(SAFE_CLASSES):
            return torch.load(path, map_location=map_location, weights_only=True)


def _copied(state: Any) -> Write:
    return partial(torch.save, _on_host(state))


def _on_host(state: Any) -> Any:
    """Copy a state, its tensors to host memory; a tensor that is shared stays shared."""
    copies: dict[tuple[object, ...], Tensor] = {}

    def copied(leaf: Any) -> Any:
        if not isinstance(leaf, Tensor):
            return copy.deepcopy(leaf)
        same = (leaf.data_ptr(), leaf.shape, leaf.stride(), leaf.dtype, leaf.device)
        if same not in copies:
            copies[same] = leaf.detach().to("cpu", copy=True)
        return copies[same]

    return tree_map(copied, state)


def state_files(engine: Engine, progress: dict[str, Any]) -> dict[str, Copy]:
    """Note what a checkpoint of the trial holds now. Every rank must call it.

    Nothing of the engine's is copied here: it must take no update until that has been done. Forward and
    backward passes change nothing of what is kept (the state of the random numbers, which they do change, is
    copied at once).

    Args:
        engine: Of the trial.
        progress: JSON-able; rank 0's is kept.

    Returns:
        This rank's files of a checkpoint, by their paths inside it.
    """
    held, rank = _Held(), distributed.get_rank()
    engine.deepspeed.checkpoint_engine = held
    # Tools for people, which DeepSpeed copies beside ZeRO's files at once: the disk is not for this thread.
    engine.deepspeed._copy_recovery_script = lambda save_path: None
    engine.deepspeed.save_checkpoint(".", tag=_TAG, save_latest=False, exclude_frozen_parameters=True)
    rng = _rng_state(engine.device)
    held.files[f"rng-{rank}.safetensors"] = lambda: partial(save_file, rng)
    if rank == 0:
        told = json.dumps(progress)
        held.files["progress.json"] = lambda: lambda path: path.write_text(told)
    return held.files


def load_newest(engine: Engine, workspace: Path, say: Callable[[str], None]) -> dict[str, Any] | None:
    """Restore the newest sound checkpoint. Every rank must call it, and none may be writing.

    One that does not match its manifest is removed, and the one before is taken.

    Args:
        engine: Of the trial.
        workspace: The trial's folder, the same on all ranks.
        say: Told, in a sentence each, which checkpoints were damaged and which one was taken.

    Returns:
        The progress it was saved with, None without a sound checkpoint.
    """
    rank, ranks = distributed.get_rank(), distributed.get_world_size()
    if rank == 0:
        remove_partial(workspace)
    folders = from_rank_0(complete_folders(workspace))
    for folder in reversed(folders):
        told = from_all_ranks(find_problem(folder, rank, ranks))
        problem = next((one for one in told if one is not None), None)
        if problem is None:
            say(f"goes on from its checkpoint at {tokens_of(folder):,} tokens")
            return _load(engine, folder)
        say(f"its checkpoint at {tokens_of(folder):,} tokens {problem}; it is removed")
        if rank == 0:
            shutil.rmtree(folder)
    if folders:
        say("begins anew: no sound checkpoint is left")
    return None


def _load(engine: Engine, folder: Path) -> dict[str, Any]:
    engine.deepspeed.checkpoint_engine = _Held()
    loaded, _ = engine.deepspeed.load_checkpoint(str(folder), tag=_TAG, load_module_strict=False)
    assert loaded is not None, f"{folder} holds no DeepSpeed state"
    rng = load_file(folder / f"rng-{distributed.get_rank()}.safetensors")
    torch.set_rng_state(rng["cpu"])
    if "cuda" in rng:
        torch.cuda.set_rng_state(rng["cuda"], engine.device)
    progress: dict[str, Any] = json.loads((folder / "progress.json").read_text())
    return progress


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

    Raises:
        InputError: The disk does not take them. The same on all ranks.
    """
    module = engine.deepspeed.module
    assert isinstance(module, PackedLoss)
    lead = distributed.get_rank() == 0
    state: dict[str, Tensor] = {}
    for name, parameter in module.model.named_parameters():  # one at a time: no rank holds two whole models
        with gathered([parameter]):
            if lead:
                state[name] = parameter.detach().to("cpu", dtype, copy=True)
    problem = from_rank_0(_write_weights(state, base, config, dtype, folder) if lead else "")
    if problem:
        raise InputError(problem)


def _write_weights(
    state: dict[str, Tensor], base: BaseModel, config: TrainConfig, dtype: torch.dtype, folder: Path
) -> str:
    """Write a trained state as a model folder; return what went wrong, empty when nothing."""
    unfinished = folder.with_name(f".{folder.name}.partial")
    shutil.rmtree(unfinished, ignore_errors=True)
    try:
        if config.model.lora.rank > 0:
            model = _merged(base, config, dtype, state, unfinished / "adapter")
        else:
            model = fresh_model(base, config, dtype)
            model.load_state_dict(state, strict=False)
        model.config._attn_implementation = "eager"  # our attention is no business of whoever loads it
        model.save_pretrained(unfinished)
        share_weights(unfinished)
        shutil.rmtree(folder, ignore_errors=True)
        os.replace(unfinished, folder)
    except DISK_ERRORS as error:
        shutil.rmtree(unfinished, ignore_errors=True)
        return unwritten("the trained weights", folder.parent, error)
    return ""


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
