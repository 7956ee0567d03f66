"""The sizes of a model, read from its configuration alone: no weights, no torch.

The counts follow the modules of transformers; a test builds every architecture and compares.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from search.model_config import read_config
from train_fn.config import ModelConfig, check
from train_fn.errors import InputError
from train_fn.limits import positions_of


@dataclass(frozen=True)
class Linear:
    """A linear layer that every transformer layer has."""

    name: str
    inputs: int
    outputs: int
    bias: bool = False

    @property
    def parameters(self) -> int:
        """Weights and biases."""
        return self.inputs * self.outputs + self.outputs * self.bias


@dataclass(frozen=True)
class ModelShape:
    """What memory and time depend on."""

    kind: str
    """`model_type` of transformers."""
    vocabulary: int
    hidden: int
    layers: int
    heads: int
    key_value_heads: int
    head_size: int
    intermediate: int
    gated: bool
    """The MLP multiplies two projections (SwiGLU, GeGLU)."""
    linears: tuple[Linear, ...]
    """Of one layer."""
    norm_parameters: int
    """Of the normalisations of one layer."""
    head: Linear
    tied: bool
    """The head shares the embedding's weights."""
    final_norm_parameters: int
    positions: int | None
    """Tokens that an example may have; None when the configuration does not say."""

    @property
    def layer_parameters(self) -> int:
        """Parameters of one transformer layer."""
        return sum(linear.parameters for linear in self.linears) + self.norm_parameters

    @property
    def embedding_parameters(self) -> int:
        """Parameters of the token embedding."""
        return self.vocabulary * self.hidden

    @property
    def parameters(self) -> int:
        """Parameters of the whole model, shared ones once."""
        head = 0 if self.tied else self.head.parameters
        layers = self.layers * self.layer_parameters
        return self.embedding_parameters + layers + self.final_norm_parameters + head

    def trainable(self, config: ModelConfig) -> int:
        """Return how many parameters a trial trains: all, or rank * (inputs + outputs) per adapted layer.

        LoRA: Hu et al. 2021, arXiv:2106.09685, section 4.1.

        Raises:
            InputError: A LoRA target is no linear layer of this model.
        """
        lora = config.lora
        if lora.rank == 0:
            return self.parameters
        targets = {target.rpartition(".")[2] for target in lora.targets or LORA_TARGETS[self.kind]}
        sizes = {linear.name: self.layers * (linear.inputs + linear.outputs) for linear in self.linears}
        sizes[self.head.name] = self.head.inputs + self.head.outputs
        unknown = sorted(targets - set(sizes))
        rule = f"names {', '.join(unknown)}, which is no linear layer of a {self.kind} model"
        check(not unknown, "model.lora.targets", lora.targets, rule, f"take some of {', '.join(sizes)}")
        return sum(lora.rank * sizes[target] for target in targets)


def model_shape(config: ModelConfig) -> ModelShape | None:
    """Return the shape of a base model.

    Args:
        config: Which model.

    Returns:
        None when nothing on this machine says: a Hub id that is neither in the Hub's cache nor known.

    Raises:
        InputError: The configuration cannot be read, or its architecture cannot be trained.
    """
    raw = read_config(config)
    return None if raw is None else shape_of(raw, config.path)


def shape_of(raw: Mapping[str, Any], path: str) -> ModelShape:
    """Return the shape that the content of a `config.json` describes.

    Args:
        raw: The file's content.
        path: `model.path`, for the messages.

    Raises:
        InputError: A field is missing, or the architecture cannot be trained.
    """
    raw = {name: value for name, value in raw.items() if value is not None}
    kind = raw.get("model_type")
    known = ", ".join(sorted(LORA_TARGETS))
    trainable = isinstance(kind, str) and kind in LORA_TARGETS
    check(trainable, "model.path", path, f"is a {str(kind)[:40]!r} model", f"take one of {known}")
    for name in _SIZES:
        size = raw.get(name, 1)
        whole = isinstance(size, int) and not isinstance(size, bool) and 0 < size < _MAX_SIZE
        rule = f"has {name} = {str(size)[:40]!r} in its configuration, which is no size"
        check(whole, "model.path", path, rule, "give a complete model folder")
    for name in _FLAGS:
        rule = f"has {name} = {str(raw.get(name))[:40]!r} in its configuration, which is not true or false"
        flag = isinstance(raw.get(name, False), bool)
        check(flag, "model.path", path, rule, "give a complete model folder")
    try:
        if kind == "gptj":
            return _gptj(raw)
        return _gpt_neox(raw) if kind == "gpt_neox" else _llama_like(raw)
    except KeyError as error:
        raise InputError(
            f"model.path = {path!r}: its configuration lacks {error.args[0]!r}; give a complete model folder"
        ) from error


_SIZES = (
    "n_embd", "n_head", "n_layer", "n_inner", "vocab_size", "hidden_size", "num_attention_heads",
    "num_key_value_heads", "num_hidden_layers", "intermediate_size", "head_dim", "n_positions",
    "max_position_embeddings",
)  # fmt: skip
_FLAGS = ("tie_word_embeddings", "attention_bias", "mlp_bias")
_MAX_SIZE = 2**40


def _gptj(raw: Mapping[str, Any]) -> ModelShape:
    hidden, heads, vocabulary = raw["n_embd"], raw["n_head"], raw["vocab_size"]
    inner = raw.get("n_inner") or 4 * hidden
    linears = [Linear(name, hidden, hidden) for name in ("q_proj", "k_proj", "v_proj", "out_proj")]
    linears += [Linear("fc_in", hidden, inner, True), Linear("fc_out", inner, hidden, True)]
    return ModelShape(
        kind="gptj",
        vocabulary=vocabulary,
        hidden=hidden,
        layers=raw["n_layer"],
        heads=heads,
        key_value_heads=heads,
        head_size=hidden // heads,
        intermediate=inner,
        gated=False,
        linears=tuple(linears),
        norm_parameters=2 * hidden,
        head=Linear("lm_head", hidden, vocabulary, True),
        tied=raw.get("tie_word_embeddings", False),
        final_norm_parameters=2 * hidden,
        positions=positions_of(raw),
    )


def _gpt_neox(raw: Mapping[str, Any]) -> ModelShape:
    hidden, heads, vocabulary = raw["hidden_size"], raw["num_attention_heads"], raw["vocab_size"]
    inner, bias = raw["intermediate_size"], raw.get("attention_bias", True)
    linears = (
        Linear("query_key_value", hidden, 3 * hidden, bias),
        Linear("dense", hidden, hidden, bias),
        Linear("dense_h_to_4h", hidden, inner, True),
        Linear("dense_4h_to_h", inner, hidden, True),
    )
    return ModelShape(
        kind="gpt_neox",
        vocabulary=vocabulary,
        hidden=hidden,
        layers=raw["num_hidden_layers"],
        heads=heads,
        key_value_heads=heads,
        head_size=hidden // heads,
        intermediate=inner,
        gated=False,
        linears=linears,
        norm_parameters=4 * hidden,
        head=Linear("embed_out", hidden, vocabulary),
        tied=raw.get("tie_word_embeddings", False),
        final_norm_parameters=2 * hidden,
        positions=positions_of(raw),
    )


def _llama_like(raw: Mapping[str, Any]) -> ModelShape:
    kind = raw["model_type"]
    hidden, heads, vocabulary = raw["hidden_size"], raw["num_attention_heads"], raw["vocab_size"]
    key_heads = raw.get("num_key_value_heads") or heads
    size = raw.get("head_dim") or hidden // heads
    inner, gemma = raw["intermediate_size"], kind.startswith("gemma")
    bias, mlp_bias = raw.get("attention_bias", False), raw.get("mlp_bias", False)
    linears = (
        Linear("q_proj", hidden, heads * size, bias or kind == "qwen2"),
        Linear("k_proj", hidden, key_heads * size, bias or kind == "qwen2"),
        Linear("v_proj", hidden, key_heads * size, bias or kind == "qwen2"),
        Linear("o_proj", heads * size, hidden, bias),
        Linear("gate_proj", hidden, inner, mlp_bias),
        Linear("up_proj", hidden, inner, mlp_bias),
        Linear("down_proj", inner, hidden, mlp_bias),
    )
    norms = (4 if kind in ("gemma2", "gemma3_text") else 2) * hidden
    query_key_norms = 2 * size if kind in ("qwen3", "gemma3_text") else 0
    return ModelShape(
        kind=kind,
        vocabulary=vocabulary,
        hidden=hidden,
        layers=raw["num_hidden_layers"],
        heads=heads,
        key_value_heads=key_heads,
        head_size=size,
        intermediate=inner,
        gated=True,
        linears=linears,
        norm_parameters=norms + query_key_norms,
        head=Linear("lm_head", hidden, vocabulary),
        tied=raw.get("tie_word_embeddings", gemma),
        final_norm_parameters=hidden,
        positions=positions_of(raw),
    )


_QUERY_AND_VALUE = ("q_proj", "v_proj")
LORA_TARGETS: Mapping[str, tuple[str, ...]] = {
    "gemma": _QUERY_AND_VALUE,
    "gemma2": _QUERY_AND_VALUE,
    "gemma3_text": _QUERY_AND_VALUE,
    "gpt_neox": ("query_key_value",),
    "gptj": _QUERY_AND_VALUE,
    "llama": _QUERY_AND_VALUE,
    "mistral": _QUERY_AND_VALUE,
    "qwen2": _QUERY_AND_VALUE,
    "qwen3": _QUERY_AND_VALUE,
}
"""What peft adapts when nobody says otherwise, by `model_type`: the architectures that can be trained."""
