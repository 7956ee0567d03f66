"""The base model: read once, kept as one copy on the host, copied afresh for each trial."""

import copy
import fcntl
import hashlib
import os
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import AutoConfig, AutoModelForCausalLM, PretrainedConfig, PreTrainedModel
from transformers import logging as transformers_logging
from transformers.initialization import no_init_weights
from transformers.utils.hub import cached_file, extract_commit_hash

from train_fn.attention import PACKED, register
from train_fn.bundled_path import bundled_folder
from train_fn.config import LoraConfig, ModelConfig, TrainConfig, check
from train_fn.disk import DISK_ERRORS, share, unwritten
from train_fn.errors import InputError
from train_fn.limits import check_positions, positions_of
from train_fn.loss_rows import read_again
from train_fn.model_files import is_hub_id

ARCHITECTURES = (
    "gemma",
    "gemma2",
    "gemma3_text",
    "gpt_neox",
    "gptj",
    "llama",
    "mistral",
    "qwen2",
    "qwen3",
)
"""`model_type`s whose packed loss a test compares with the loss that transformers computes."""


@dataclass(frozen=True)
class BaseModel:
    """A base model on the host. Nothing ever writes to `state`."""

    config: PretrainedConfig
    state: dict[str, Tensor]
    key: str
    """Hash of the weights' origin: equal keys mean equal weights."""
    parameters: int


def load_base(config: ModelConfig, seed: int = 0, cache_dir: Path | None = None) -> BaseModel:
    """Read the base model's weights.

    Args:
        config: Which model.
        seed: Seed of the weights of `init="random"`; pretrained weights ignore it.
        cache_dir: Where the weights are kept as one safetensors file that all ranks of a node map, so that
            they share one host copy; None gives each process its own.

    Raises:
        InputError: The model cannot be read, its architecture cannot be packed, or the disk is full.
    """
    path = str(bundled_folder()) if config.path == "bundled" else config.path
    if not Path(path).exists() and not is_hub_id(path):
        raise InputError(f"model.path = {config.path!r} is no folder; give a folder, a Hub id or 'bundled'")
    gguf = {"gguf_file": config.gguf_file} if config.gguf_file else {}
    try:
        hf_config = AutoConfig.from_pretrained(path, **gguf)
    except (OSError, ValueError, KeyError) as error:
        raise _unreadable(config, error) from error
    kind, known = hf_config.model_type, ", ".join(ARCHITECTURES)
    check(kind in ARCHITECTURES, "model.path", config.path, f"is a {kind!r} model", f"take one of {known}")
    key = _key(config, path, hf_config, seed)
    if cache_dir is None:
        state = _read_state(config, path, hf_config, seed)
    else:
        state = _shared_state(cache_dir / f"{key}.safetensors", config, path, hf_config, seed)
    return BaseModel(hf_config, state, key, sum(t.numel() for t in state.values()))


def _unreadable(config: ModelConfig, error: Exception) -> InputError:
    first_line = str(error).strip().split("\n")[0]
    return InputError(
        f"model.path = {config.path!r} cannot be read: {first_line}; check the folder or Hub id"
    )


def _read_state(config: ModelConfig, path: str, hf_config: PretrainedConfig, seed: int) -> dict[str, Tensor]:
    if config.init == "random":
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            model = AutoModelForCausalLM.from_config(copy.deepcopy(hf_config), dtype=torch.float32)
    else:
        gguf = {"gguf_file": config.gguf_file} if config.gguf_file else {}
        transformers_logging.disable_progress_bar()
        try:
            model, info = AutoModelForCausalLM.from_pretrained(
                path, dtype="auto", output_loading_info=True, **gguf
            )
        except (OSError, ValueError, KeyError, RuntimeError, SafetensorError) as error:
            raise _unreadable(config, error) from error
        missing = sorted(info["missing_keys"])
        rule = f"lacks {len(missing)} weights ({', '.join(missing[:3])})"
        check(not missing, "model.path", config.path, rule, "give a complete model, or model.init=random")
    tied = {name for name in model.all_tied_weights_keys if name in model.state_dict()}
    return {k: v.detach().contiguous() for k, v in model.state_dict().items() if k not in tied}


def _shared_state(
    file: Path, config: ModelConfig, path: str, hf_config: PretrainedConfig, seed: int
) -> dict[str, Tensor]:
    file.parent.mkdir(parents=True, exist_ok=True)
    with open(f"{file}.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # the first rank of a node reads the model, the others wait and map
        if not file.exists():
            partial = file.with_suffix(f".{os.getpid()}.tmp")
            state = _read_state(config, path, hf_config, seed)
            try:
                save_file(state, partial)
                share(partial, Path(lock.name))  # safetensors hides it from others
            except DISK_ERRORS as error:
                partial.unlink(missing_ok=True)
                raise InputError(unwritten("the host copy of the base model", file.parent, error)) from error
            partial.replace(file)
    mapped: dict[str, Tensor] = load_file(file)
    return mapped


def _key(config: ModelConfig, path: str, hf_config: PretrainedConfig, seed: int) -> str:
    """Hash what the weights come from: seed, Hub commit, or the folder's files (whole up to 256 MB each)."""
    digest = hashlib.sha256(f"{config.init} {config.gguf_file} {hf_config.to_json_string()}".encode())
    if config.init == "random":
        digest.update(str(seed).encode())
    elif not Path(path).is_dir():
        commit = extract_commit_hash(cached_file(path, "config.json"), None)
        digest.update(f"{path} {commit}".encode())
    else:
        for file in sorted(Path(path).glob("*")):
            if not file.is_file() or file.suffix not in (".safetensors", ".bin", ".gguf"):
                continue
            size = file.stat().st_size
            digest.update(f"{file.name} {size}".encode())
            content = size <= 2**28
            digest.update(file.read_bytes() if content else str(file.stat().st_mtime_ns).encode())
    return digest.hexdigest()[:16]


def fresh_model(
    base: BaseModel, config: TrainConfig, dtype: torch.dtype, device: torch.device | None = None
) -> PreTrainedModel:
    """Return a new module with the base weights, ready for a trial.

    LoRA adapters, when asked for, are drawn from torch's seed, and only they require gradients.

    Args:
        base: Where the weights come from; stays as it is.
        config: The trial.
        dtype: Of the module's parameters.
        device: Where the module is built; None is the host.

    Raises:
        InputError: The model has fewer positions than an example may have tokens, or peft cannot adapt the
            modules named.
    """
    check_positions(config, positions_of(base.config.to_dict()))
    register()
    transformers_logging.disable_progress_bar()  # a bar per trial and rank says nothing
    hf_config = copy.deepcopy(base.config)
    with torch.device(device or "cpu"), no_init_weights():
        model = AutoModelForCausalLM.from_config(hf_config, dtype=dtype, attn_implementation=PACKED)
    model.tie_weights()
    with torch.no_grad():
        lacking = model.load_state_dict(base.state, strict=False).missing_keys
    assert set(lacking) <= set(model.all_tied_weights_keys), f"weights without a value: {lacking}"
    if config.model.lora.rank > 0:
        model = adapt(model, config.model.lora).get_base_model()
    if config.model.activation_checkpointing:
        model.activation_checkpointing_enable({"use_reentrant": False, "context_fn": read_again})
    return model


def adapt(model: PreTrainedModel, lora: LoraConfig) -> "PeftModel":  # type: ignore[name-defined] # noqa: F821
    """Return `model` wrapped by peft: LoRA layers (arXiv:2106.09685) inside, everything else frozen.

    Raises:
        InputError: peft finds none of the modules named, or has no default for the architecture.
    """
    import peft

    wanted = peft.LoraConfig(
        r=lora.rank,
        lora_alpha=lora.alpha,
        lora_dropout=lora.dropout,
        target_modules=list(lora.targets) or None,
        task_type="CAUSAL_LM",
    )
    try:
        return peft.get_peft_model(model, wanted)
    except ValueError as error:
        reason = str(error).strip().split("\n")[0]
        fix = "name linear layers of the model, such as q_proj"
        raise InputError(
            f"model.lora.targets = {lora.targets!r} cannot be adapted: {reason}; {fix}"
        ) from error
