"""Find and read the configuration of a base model, without torch, transformers or the network."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from train_fn.bundled_path import bundled_folder
from train_fn.config import ModelConfig
from train_fn.errors import InputError
from train_fn.typed import load_json

KNOWN: Mapping[str, Mapping[str, Any]] = {
    "eleutherai/gpt-j-6b": {
        "model_type": "gptj",
        "vocab_size": 50400,
        "n_embd": 4096,
        "n_layer": 28,
        "n_head": 16,
        "n_inner": None,
        "n_positions": 2048,
        "tie_word_embeddings": False,
    },
}
"""Configurations of Hub models by lower-case id, so that a plan needs no network."""


def read_config(config: ModelConfig) -> Mapping[str, Any] | None:
    """Return the content of a model's `config.json`, or what its GGUF header says in the same words.

    Returns:
        None for a Hub id that is neither in the Hub's cache nor in `KNOWN`.

    Raises:
        InputError: The model or its file is not there or cannot be read.
    """
    return _gguf_config(config) if config.gguf_file else _raw_config(config)


def _raw_config(config: ModelConfig) -> Mapping[str, Any] | None:
    folder = bundled_folder() if config.path == "bundled" else Path(config.path)
    if folder.is_dir():
        return _read(folder / "config.json", config.path)
    if config.path.startswith((".", "/", "~")) or config.path.count("/") != 1:
        raise InputError(f"model.path = {config.path!r} is no folder; give a folder, a Hub id or 'bundled'")
    if config.path.lower() in KNOWN:
        return KNOWN[config.path.lower()]
    from huggingface_hub import try_to_load_from_cache

    cached = try_to_load_from_cache(config.path, "config.json")
    return _read(Path(cached), config.path) if isinstance(cached, str) else None


def _read(file: Path, path: str) -> Mapping[str, Any]:
    try:
        raw = load_json(file.read_bytes())
        if not isinstance(raw, dict):
            raise ValueError("it is no object")
    except (OSError, ValueError) as error:
        raise InputError(
            f"model.path = {path!r}: its {file.name} cannot be read ({error}); give a complete model folder"
        ) from error
    return raw


def _gguf_config(config: ModelConfig) -> Mapping[str, Any]:
    """Read the fields of a GGUF header under the names of `config.json`."""
    from gguf import GGUFReader

    file = Path(config.path) / config.gguf_file
    if not file.is_file():
        raise InputError(
            f"model.gguf_file = {config.gguf_file!r} is no file in {config.path!r}; name one that is"
        )
    try:
        reader = GGUFReader(file)
    except ValueError as error:
        raise InputError(
            f"model.gguf_file = {config.gguf_file!r} cannot be read: {error}; download it anew"
        ) from error
    fields = {
        name: field.contents() for name, field in reader.fields.items() if not name.startswith("tokenizer")
    }
    tensors = {tensor.name: [int(n) for n in tensor.shape] for tensor in reader.tensors}
    kind = fields["general.architecture"]
    heads = fields[f"{kind}.attention.head_count"]
    hidden = fields[f"{kind}.embedding_length"]
    return {
        "model_type": {"gemma3": "gemma3_text"}.get(kind, kind),
        "vocab_size": tensors["token_embd.weight"][1],
        "hidden_size": hidden,
        "num_hidden_layers": fields[f"{kind}.block_count"],
        "num_attention_heads": heads,
        "num_key_value_heads": fields.get(f"{kind}.attention.head_count_kv", heads),
        "head_dim": fields.get(f"{kind}.attention.key_length", hidden // heads),
        "intermediate_size": fields[f"{kind}.feed_forward_length"],
        "tie_word_embeddings": "output.weight" not in tensors,
        "max_position_embeddings": fields.get(f"{kind}.context_length"),
    }
