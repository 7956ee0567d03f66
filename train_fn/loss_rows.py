"""The last layer of a language model, computed only where the loss looks.

Behind the last attention a token's state reaches no other token. So of a prompt that layer needs keys and
values alone: all else in it acts on each position by itself, and what it makes of a position without a loss
is read by nobody. Such parts get the rows of the loss; the other rows are zero and have no gradient.
"""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn
from transformers import PreTrainedModel

from train_fn.layers import decoder_layers

ROWWISE = ("q_proj", "o_proj", "out_proj", "dense", "mlp")
"""Parts of a layer that act on each position by itself, by the last part of their names in the architectures
of `train_fn.model`: queries, the projection behind the attention, the MLP."""
WORTH = 0.9
"""Above this share of rows with a loss, picking them costs more than it saves."""


@dataclass(frozen=True)
class _Rows:
    positions: Tensor
    tokens: int


_read: ContextVar[_Rows | None] = ContextVar("_read", default=None)


def cut_last_layer(model: PreTrainedModel) -> None:
    """Let the last layer of `model` compute no more than `reading` asks for."""
    for name, part in decoder_layers(model)[-1].named_modules():
        if name.rpartition(".")[2] in ROWWISE:
            part.register_forward_pre_hook(_pick)
            part.register_forward_hook(_put_back)


def reading(positions: Tensor, tokens: int) -> AbstractContextManager[None]:
    """Return a context in which only some states of the last layer are right.

    Args:
        positions: Where the loss looks in the packed row, ascending, shape [K].
        tokens: Length of the packed row.
    """
    return _within(_Rows(positions, tokens) if len(positions) < WORTH * tokens else None)


def read_again() -> tuple[AbstractContextManager[None], AbstractContextManager[None]]:
    """Return the contexts of a part that activation checkpointing computes twice (`context_fn` of torch)."""
    return nullcontext(), _within(_read.get())


@contextmanager
def _within(rows: _Rows | None) -> Iterator[None]:
    before = _read.set(rows)
    try:
        yield
    finally:
        _read.reset(before)


def _pick(part: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...] | None:
    rows = _read.get()
    return None if rows is None else (inputs[0].index_select(1, rows.positions), *inputs[1:])


def _put_back(part: nn.Module, inputs: Any, output: Tensor) -> Tensor | None:
    rows = _read.get()
    if rows is None:
        return None
    return output.new_zeros(1, rows.tokens, output.shape[-1]).index_copy(1, rows.positions, output)
