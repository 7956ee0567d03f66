"""Real but tiny things that train in a moment: examples in memory, random models of each architecture."""

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import AutoConfig, AutoModelForCausalLM, PretrainedConfig, PreTrainedTokenizerFast

from train_fn.config import DataConfig, EngineConfig, ModelConfig, OptimConfig, RunConfig, TrainConfig
from train_fn.data_report import DataReport
from train_fn.model import BaseModel

VOCABULARY = 61


@dataclass(frozen=True)
class ToyExamples:
    rows: tuple[np.ndarray, ...]
    prompt_lengths: np.ndarray
    sources: np.ndarray

    @property
    def lengths(self) -> np.ndarray:
        return np.array([len(row) for row in self.rows], np.int32)

    @property
    def conversations(self) -> np.ndarray:
        return np.arange(len(self), dtype=np.int32)

    @property
    def ids(self) -> list[str]:
        return [f"toy:{i}" for i in range(len(self.rows))]

    def tokens(self, i: int) -> np.ndarray:
        return self.rows[i]

    def __len__(self) -> int:
        return len(self.rows)


TOY_REPORT = DataReport(224, 200, 24, {}, {}, 0, 0, 0, (), 224, highest_token=VOCABULARY - 1)


@dataclass(frozen=True)
class ToyPrepared:
    train: ToyExamples
    eval: ToyExamples
    key: str = "toy"
    report: DataReport = TOY_REPORT


def toy_examples(count: int, seed: int = 0, longest: int = 24, sources: int = 1) -> ToyExamples:
    """Counting sequences with noise: learnable, so that a loss falls."""
    rng = np.random.default_rng(seed)
    lengths = rng.integers(4, longest + 1, count)
    rows = tuple(
        ((rng.integers(1, VOCABULARY) + np.arange(n) * rng.integers(1, 4)) % (VOCABULARY - 1) + 1).astype(
            np.int32
        )
        for n in lengths
    )
    prompts = np.array([rng.integers(1, n - 1) for n in lengths], np.int32)
    return ToyExamples(rows, prompts, (np.arange(count) % sources).astype(np.int16))


def toy_prepared(sources: int = 1) -> ToyPrepared:
    return ToyPrepared(toy_examples(200, 1, sources=sources), toy_examples(24, 2))


TINY: dict[str, dict[str, Any]] = {
    "gpt_neox": {
        "num_attention_heads": 4,
        "intermediate_size": 64,
        "rotary_pct": 0.25,
        "max_position_embeddings": 512,
    },
    "gptj": {"n_embd": 32, "n_layer": 2, "n_head": 4, "rotary_dim": 4, "n_positions": 512, "n_inner": 64},
    "llama": {"num_attention_heads": 4, "num_key_value_heads": 2, "intermediate_size": 64},
    "qwen2": {
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "intermediate_size": 64,
        "tie_word_embeddings": True,
    },
    "qwen3": {"num_attention_heads": 4, "num_key_value_heads": 2, "intermediate_size": 64, "head_dim": 8},
    "mistral": {
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "intermediate_size": 64,
        "sliding_window": 5,
    },
    "gemma": {"num_attention_heads": 4, "num_key_value_heads": 1, "intermediate_size": 64, "head_dim": 8},
    "gemma2": {
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "intermediate_size": 64,
        "head_dim": 8,
        "sliding_window": 5,
        "query_pre_attn_scalar": 8,
        "attn_logit_softcapping": 2.0,
        "final_logit_softcapping": 1.5,
    },
    "gemma3_text": {
        "num_attention_heads": 4,
        "num_key_value_heads": 1,
        "intermediate_size": 64,
        "head_dim": 8,
        "sliding_window": 5,
        "query_pre_attn_scalar": 8,
        "layer_types": ["sliding_attention", "full_attention"],
    },
}


def toy_config(kind: str = "gpt_neox") -> PretrainedConfig:
    sizes = {} if kind == "gptj" else {"hidden_size": 32, "num_hidden_layers": 2}
    special = {"pad_token_id": 0, "bos_token_id": 0, "eos_token_id": 0}
    return AutoConfig.for_model(kind, vocab_size=VOCABULARY, **sizes, **special, **TINY[kind])


def toy_model(kind: str = "gpt_neox", seed: int = 0) -> torch.nn.Module:
    """Weights far from the usual small ones, so that caps and windows matter."""
    torch.manual_seed(seed)
    model = AutoModelForCausalLM.from_config(
        toy_config(kind), attn_implementation="eager", dtype=torch.float32
    )
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.ndim > 1:
                parameter.mul_(6)
            elif name.endswith("bias"):
                parameter.normal_(0, 0.1)
    return model.eval()


def toy_base(kind: str = "gpt_neox", seed: int = 0) -> BaseModel:
    model = toy_model(kind, seed)
    tied = set(model.all_tied_weights_keys) & set(model.state_dict())
    state = {k: v.clone() for k, v in model.state_dict().items() if k not in tied}
    return BaseModel(model.config, state, f"toy-{kind}-{seed}", sum(t.numel() for t in state.values()))


def toy_train_config(**changes: Any) -> TrainConfig:
    """`toy_train_config(optim__lr=0.1)` changes `optim.lr`."""
    config = TrainConfig(
        model=ModelConfig(),
        data=DataConfig(max_example_tokens=24),
        optim=OptimConfig(lr=3e-3, effective_batch_size=8),
        engine=EngineConfig(max_tokens_per_micro_batch=64),
        run=RunConfig(max_tokens=2000, window_tokens=500),
    )
    groups: dict[str, dict[str, Any]] = {}
    for path, value in changes.items():
        group, name = path.split("__")
        groups.setdefault(group, {})[name] = value
    parts = {group: dataclasses.replace(getattr(config, group), **values) for group, values in groups.items()}
    return dataclasses.replace(config, **parts)


def save_toy_model(folder: Path, kind: str = "gpt_neox") -> Path:
    toy_model(kind).save_pretrained(folder)
    return folder


def tokenizer_like_llama(kind: Literal["prepend", "always", "first", "never"]) -> Any:
    """Return a tokenizer that puts a space before a text as those of Llama and Mistral do, or never does."""
    backend = Tokenizer(models.BPE(unk_token="<unk>"))
    if kind == "prepend":
        spaces = [normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")]
        backend.normalizer = normalizers.Sequence(spaces)
    else:
        backend.pre_tokenizer = pre_tokenizers.Metaspace("▁", kind, split=False)
    letters = [chr(code) for code in range(33, 127)] + ["▁", "\n"]
    special = ["<unk>", "<s>", "</s>", "<|user|>", "<|bot|>"]
    trainer = trainers.BpeTrainer(vocab_size=200, special_tokens=special, initial_alphabet=letters)
    backend.train_from_iterator(["Hello"] * 50 + ["Hi", "how are you", "Bot:", "You:"] * 50, trainer)
    backend.post_processor = processors.TemplateProcessing("<s> $A", special_tokens=[("<s>", 1)])
    backend.decoder = decoders.Metaspace("▁", "never")
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=backend, bos_token="<s>", eos_token="</s>", unk_token="<unk>"
    )
    tokenizer.add_tokens(["<|user|>", "<|bot|>"], special_tokens=True)
    return tokenizer
