import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from gguf import GGUFWriter
from peft.utils.constants import TRANSFORMERS_MODELS_TO_LORA_TARGET_MODULES_MAPPING
from transformers import AutoConfig, AutoModelForCausalLM, PretrainedConfig

from search.model_config import KNOWN
from search.model_shape import LORA_TARGETS, model_shape, shape_of
from tests.toys import TINY, toy_config
from train_fn.config import LoraConfig, ModelConfig
from train_fn.errors import InputError
from train_fn.model import ARCHITECTURES, adapt

VARIANTS = {
    "gpt_neox": {"attention_bias": False},
    "gptj": {"n_inner": 48},
    "llama": {"attention_bias": True, "mlp_bias": True, "tie_word_embeddings": True},
    "qwen2": {"tie_word_embeddings": True},
    "qwen3": {"attention_bias": True},
    "mistral": {"head_dim": 16},
    "gemma": {"attention_bias": True},
    "gemma2": {"num_key_value_heads": 4},
    "gemma3_text": {"tie_word_embeddings": False},
}


def real_parameters(config: PretrainedConfig) -> int:
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config)
    return sum(p.numel() for p in model.parameters())


@pytest.mark.parametrize("kind", ARCHITECTURES)
@pytest.mark.parametrize("changed", [False, True])
def test_parameters_are_those_of_the_real_module(kind: str, changed: bool, tmp_path: Path) -> None:
    config = toy_config(kind)
    if changed:
        for name, value in VARIANTS[kind].items():
            setattr(config, name, value)
    config.save_pretrained(tmp_path)
    shape = model_shape(ModelConfig(path=str(tmp_path)))
    assert shape is not None
    assert shape.parameters == real_parameters(config)


@pytest.mark.parametrize("kind", ARCHITECTURES)
def test_parameters_of_the_full_sizes(kind: str, tmp_path: Path) -> None:
    config = AutoConfig.for_model(kind)
    config.save_pretrained(tmp_path)
    shape = model_shape(ModelConfig(path=str(tmp_path)))
    assert shape is not None
    assert shape.parameters == real_parameters(config)
    assert shape.parameters > 10**9
    assert shape.positions == config.max_position_embeddings


def test_gpt_j_needs_no_network() -> None:
    shape = model_shape(ModelConfig(path="EleutherAI/gpt-j-6b"))
    assert shape is not None
    assert shape.positions == 2048
    assert shape.parameters == 6_050_882_784
    raw = {name: value for name, value in KNOWN["eleutherai/gpt-j-6b"].items() if name != "model_type"}
    assert shape.parameters == real_parameters(AutoConfig.for_model("gptj", **raw))


@pytest.mark.parametrize("kind", ARCHITECTURES)
@pytest.mark.parametrize("named", [False, True])
def test_trainable_parameters_of_lora_are_pefts(kind: str, named: bool) -> None:
    config = toy_config(kind)
    shape = shape_of(config.to_dict(), "toy")
    lora = LoraConfig(rank=3, targets=tuple(linear.name for linear in shape.linears[:2]) if named else ())
    model = adapt(AutoModelForCausalLM.from_config(config), lora)
    real = sum(p.numel() for p in model.parameters() if p.requires_grad)
    assert shape.trainable(ModelConfig(lora=lora)) == real


def test_the_tables_agree_with_what_runs() -> None:
    assert sorted(LORA_TARGETS) == sorted(ARCHITECTURES) == sorted(TINY)
    peft = TRANSFORMERS_MODELS_TO_LORA_TARGET_MODULES_MAPPING
    assert {kind: sorted(names) for kind, names in LORA_TARGETS.items()} == {
        kind: sorted(peft[kind]) for kind in LORA_TARGETS
    }


@pytest.mark.parametrize("tied", [False, True])
def test_a_gguf_header_says_the_same_as_the_configuration(tied: bool, tmp_path: Path) -> None:
    config = toy_config("llama")
    config.tie_word_embeddings = tied
    writer = GGUFWriter(tmp_path / "model.gguf", "llama")
    writer.add_embedding_length(config.hidden_size)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_context_length(config.max_position_embeddings)
    for name in ("token_embd.weight",) if tied else ("token_embd.weight", "output.weight"):
        writer.add_tensor(name, np.zeros((config.vocab_size, config.hidden_size), np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    shape = model_shape(ModelConfig(path=str(tmp_path), gguf_file="model.gguf"))
    assert shape == shape_of(config.to_dict(), "toy")


def test_a_broken_gguf_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "model.gguf").write_bytes(b"this is no model at all, only some words")
    with pytest.raises(InputError, match="cannot be read"):
        model_shape(ModelConfig(path=str(tmp_path), gguf_file="model.gguf"))


def test_unknown_hub_id_has_no_shape() -> None:
    assert model_shape(ModelConfig(path="nobody/has-this-model")) is None


@pytest.mark.parametrize(
    ("content", "word"),
    [
        ("{", "cannot be read"),
        (json.dumps({"model_type": "bert"}), "is a 'bert' model"),
        (json.dumps({"model_type": "llama", "vocab_size": 8}), "lacks 'hidden_size'"),
    ],
)
def test_broken_configuration_is_refused(content: str, word: str, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(content)
    with pytest.raises(InputError, match=word):
        model_shape(ModelConfig(path=str(tmp_path)))


def test_missing_folder_and_file_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no folder"):
        model_shape(ModelConfig(path=str(tmp_path / "nothing")))
    with pytest.raises(InputError, match="cannot be read"):
        model_shape(ModelConfig(path=str(tmp_path)))
    with pytest.raises(InputError, match="no file in"):
        model_shape(ModelConfig(path=str(tmp_path), gguf_file="model.gguf"))


def test_unknown_lora_target_is_refused() -> None:
    shape = shape_of(toy_config("llama").to_dict(), "toy")
    config = replace(ModelConfig(), lora=LoraConfig(rank=2, targets=("q_proj", "query_key_value")))
    with pytest.raises(InputError, match="names query_key_value"):
        shape.trainable(config)
