"""Causal attention over packed examples, registered with transformers under the name `packed`.

The layout of a row travels in place of the attention mask: transformers hands a 4-D mask to every attention
layer untouched, also through activation checkpointing. `pack_layout` writes it, `packed_attention` reads it.
"""

import itertools

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import AttentionInterface
from transformers.models.gptj import modeling_gptj

PACKED = "packed"


def pack_layout(starts: Tensor, longest: int) -> Tensor:
    """Return the layout of a packed row as a 4-D tensor of shape [1, 1, longest, examples + 1].

    Args:
        starts: Where each example starts, then the row's length; int32, shape [examples + 1].
        longest: Tokens of the longest example. It is a size of the result, not a value in it, so a kernel
            can read it without waiting for the device.
    """
    return starts.expand(1, 1, longest, -1)


def packed_attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor,
    dropout: float = 0.0,
    scaling: float | None = None,
    sliding_window: int | None = None,
    softcap: float | None = None,
    **kwargs: object,
) -> tuple[Tensor, None]:
    """Attend causally within each example of a packed row.

    Args:
        module: The attention layer.
        query: Shape [1, heads, T, head size].
        key: Shape [1, key heads, T, head size].
        value: Shape [1, key heads, T, head size].
        attention_mask: The row's layout, see `pack_layout`.
        dropout: Probability of dropping an attention weight.
        scaling: Factor on the scores; None is 1 / sqrt(head size).
        sliding_window: A token sees itself and this many minus one before it; None is all.
        softcap: Scores are capped to softcap * tanh(score / softcap) (Gemma 2, arXiv:2408.00118).
        kwargs: What else transformers passes; not needed here.

    Returns:
        Shape [1, T, heads, head size], and None for the weights.
    """
    starts = attention_mask[0, 0, 0]
    longest = attention_mask.shape[2]
    half = query.dtype in (torch.float16, torch.bfloat16)
    if query.is_cuda and half and softcap is None and dropout == 0 and _has_flash(query.device.index):
        return _flash(query, key, value, starts, longest, scaling, sliding_window), None
    return _one_by_one(query, key, value, starts, dropout, scaling, sliding_window, softcap), None


@torch.compiler.assume_constant_result  # type: ignore[untyped-decorator]
def _has_flash(device: int) -> bool:
    """Tell whether a GPU can run the kernel: FlashAttention 2 begins with Ampere."""
    capability: tuple[int, int] = torch.cuda.get_device_capability(device)
    return capability >= (8, 0)


def _flash(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    starts: Tensor,
    longest: int,
    scaling: float | None,
    sliding_window: int | None,
) -> Tensor:
    from torch.nn.attention.varlen import varlen_attn

    output: Tensor = varlen_attn(
        query[0].transpose(0, 1).contiguous(),
        key[0].transpose(0, 1).contiguous(),
        value[0].transpose(0, 1).contiguous(),
        starts.contiguous(),
        starts.contiguous(),
        longest,
        longest,
        scale=scaling,
        window_size=(-1 if sliding_window is None else sliding_window - 1, 0),
        enable_gqa=key.shape[1] != query.shape[1],
    )
    return output[None]


@torch.compiler.disable  # type: ignore[untyped-decorator]  # a program for each number of examples and each of their lengths
def _one_by_one(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    starts: Tensor,
    dropout: float,
    scaling: float | None,
    sliding_window: int | None,
    softcap: float | None,
) -> Tensor:
    sizes = [b - a for a, b in itertools.pairwise(starts.tolist())]
    outputs = [
        _attend(q, k, v, dropout, scaling, sliding_window, softcap)
        for q, k, v in zip(query.split(sizes, 2), key.split(sizes, 2), value.split(sizes, 2), strict=True)
    ]
    return torch.cat(outputs, dim=2).transpose(1, 2)


def _attend(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    dropout: float,
    scaling: float | None,
    sliding_window: int | None,
    softcap: float | None,
) -> Tensor:
    tokens = query.shape[2]
    grouped = key.shape[1] != query.shape[1]
    if softcap is None and (sliding_window is None or tokens <= sliding_window):
        return F.scaled_dot_product_attention(
            query, key, value, dropout_p=dropout, is_causal=True, scale=scaling, enable_gqa=grouped
        )
    allowed = torch.ones(tokens, tokens, dtype=torch.bool, device=query.device).tril()
    if sliding_window is not None:
        allowed = allowed.triu(1 - sliding_window)
    if softcap is None:
        return F.scaled_dot_product_attention(
            query, key, value, attn_mask=allowed, dropout_p=dropout, scale=scaling, enable_gqa=grouped
        )
    if grouped:
        groups = query.shape[1] // key.shape[1]
        key, value = key.repeat_interleave(groups, 1), value.repeat_interleave(groups, 1)
    scale = query.shape[-1] ** -0.5 if scaling is None else scaling
    scores = torch.tanh(query @ key.transpose(2, 3) * scale / softcap) * softcap
    scores = scores.masked_fill(~allowed, float("-inf"))
    chances = torch.softmax(scores, dim=-1, dtype=torch.float32).to(query.dtype)
    return F.dropout(chances, dropout) @ value


class PackedGPTJAttention(modeling_gptj.GPTJAttention):  # type: ignore[misc]
    """GPT-J's attention with the packed kernel: its own code has no attention interface."""

    def _attn(self, query: Tensor, key: Tensor, value: Tensor, attention_mask: Tensor) -> tuple[Tensor, None]:
        dropout = self.attn_dropout.p if self.training else 0.0
        # transformers computes GPT-J's scores in fp32 because they leave the range of fp16
        wide = torch.float32 if query.dtype == torch.float16 else query.dtype
        output, _ = packed_attention(
            self, query.to(wide), key.to(wide), value.to(wide), attention_mask, dropout=dropout
        )
        return output.to(value.dtype).transpose(1, 2), None


def register() -> None:
    """Make `packed` known to transformers; doing it again changes nothing."""
    AttentionInterface.register(PACKED, packed_attention)
    modeling_gptj.GPTJ_ATTENTION_CLASSES[PACKED] = PackedGPTJAttention
