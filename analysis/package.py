"""The folder that is sent: weights as plain `transformers` loads them, tokenizer, and sampling settings.

Imports torch and transformers, which take seconds: only entry points import this module, when they need it.
"""

import json
import os
import shutil
from pathlib import Path

import torch
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoTokenizer,
    GenerationConfig,
    PreTrainedModel,
)
from transformers import logging as transformers_logging

from analysis.plain_model import DTYPES
from analysis.promotion import WEIGHTS, cannot_write, sha256_of
from spaces.promotion import BehaviourConfig, PromotionConfig
from train_fn.disk import is_full, share_weights
from train_fn.errors import InputError

ADAPTER = "adapter"
"""Where a LoRA trial keeps its adapter, below its weights."""


def write_package(weights: Path, folder: Path, rules: PromotionConfig, sampling: BehaviourConfig) -> None:
    """Write the model files of a finished trial, ready to be loaded by anybody.

    The trial's weights are already whole (ZeRO shards gathered, LoRA merged); here they get their final
    number format and are cut into files of at most `promotion.max_shard_gb`.

    Args:
        weights: Of the trial.
        folder: Appears whole or not at all; what stood there is replaced.
        rules: Number format, size of a file, whole model or adapter.
        sampling: Settings of `generation_config.json`.

    Raises:
        InputError: The trial has no adapter, a weight does not fit the number format, or there is no room.
    """
    transformers_logging.disable_progress_bar()
    tokenizer = AutoTokenizer.from_pretrained(weights)
    if rules.adapter:
        adapter_base(weights)  # refuses where there is none
    model = None if rules.adapter else _converted_model(weights, rules)
    partial = folder.with_name(f".{folder.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    try:
        partial.mkdir(parents=True)
        tokenizer.save_pretrained(partial)
        if model is None:
            _copy_adapter(weights, partial)
        else:
            model.save_pretrained(partial, max_shard_size=f"{rules.max_shard_gb:g}GB")
            share_weights(partial)
            generation_config(tokenizer, sampling).save_pretrained(partial)
        _keep_times(folder, partial)
        shutil.rmtree(folder, ignore_errors=True)
        partial.replace(folder)
    except Exception as error:
        shutil.rmtree(partial, ignore_errors=True)
        if not is_full(error):
            raise
        raise cannot_write(folder, error, "make room there and run the same command again") from error


def generation_config(tokenizer: AutoTokenizer, sampling: BehaviourConfig) -> GenerationConfig:
    """Return the sampling settings that the model was listened to with, as its own defaults."""
    return GenerationConfig(
        do_sample=True,
        temperature=sampling.temperature,
        top_p=sampling.top_p,
        top_k=sampling.top_k,
        repetition_penalty=sampling.repetition_penalty,
        max_new_tokens=sampling.max_new_tokens,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id if tokenizer.pad_token_id is not None else tokenizer.eos_token_id,
    )


def adapter_base(weights: Path) -> str:
    """Return the base model that a trial's adapter belongs to, as the trial named it.

    Raises:
        InputError: The trial has no adapter.
    """
    file = weights / ADAPTER / "adapter_config.json"
    if not file.is_file():
        raise InputError(
            f"promotion.adapter = True, but {weights} holds no adapter: it was not trained with LoRA; "
            "set promotion.adapter=false"
        )
    return str(json.loads(file.read_text())["base_model_name_or_path"])


def _keep_times(before: Path, now: Path) -> None:
    """Give weights that are what they were the times they had: large files are known by them."""
    for file in now.iterdir():
        old = before / file.name
        if file.suffix in WEIGHTS and old.is_file() and sha256_of(old) == sha256_of(file):
            os.utime(file, ns=(old.stat().st_atime_ns, old.stat().st_mtime_ns))


def _copy_adapter(weights: Path, folder: Path) -> None:
    for name in ("adapter_config.json", "adapter_model.safetensors"):
        shutil.copyfile(weights / ADAPTER / name, folder / name)


def _converted_model(weights: Path, rules: PromotionConfig) -> PreTrainedModel:
    dtype = _chosen_dtype(weights, rules)
    model = AutoModelForCausalLM.from_pretrained(weights, dtype="auto")
    if dtype == torch.float16:
        _check_range(model, dtype)
    return model.to(dtype)


def _chosen_dtype(weights: Path, rules: PromotionConfig) -> torch.dtype:
    if rules.dtype != "auto":
        return DTYPES[rules.dtype]
    trained: torch.dtype = AutoConfig.from_pretrained(weights).dtype
    return trained if trained in (torch.float16, torch.bfloat16) else torch.bfloat16


def _check_range(model: torch.nn.Module, dtype: torch.dtype) -> None:
    most = torch.finfo(dtype).max
    for name, weight in model.state_dict().items():
        if weight.is_floating_point() and weight.numel() and float(weight.abs().max()) > most:
            raise InputError(
                f"promotion.dtype = 'fp16' cannot hold {name}, which exceeds {most:g}; set it to bf16"
            )
