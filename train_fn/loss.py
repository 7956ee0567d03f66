"""The token losses of a packed micro-batch, with logits only where the loss looks."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint
from transformers import PreTrainedModel

from train_fn.attention import pack_layout
from train_fn.batches import MicroBatch
from train_fn.loss_rows import cut_last_layer, reading


class PackedLoss(nn.Module):  # type: ignore[misc]
    """A causal language model that answers with the losses of a packed row.

    Args:
        model: The language model; its attention is `packed`. Its last layer is cut to what the loss reads, in
            forward passes of this module alone.
    """

    def __init__(self, model: PreTrainedModel) -> None:
        super().__init__()
        self.model = model
        cut_last_layer(model)

    def forward(
        self,
        tokens: Tensor,
        positions: Tensor,
        layout: Tensor,
        loss_positions: Tensor,
        targets: Tensor,
        weights: Tensor | None,
        head_chunks: int,
    ) -> Tensor:
        """Return the weighted sum of token losses, or each token's loss when `weights` is None.

        Args:
            tokens: Shape [1, T].
            positions: Place of each token within its example, shape [1, T].
            layout: See `pack_layout`.
            loss_positions: Shape [K].
            targets: Shape [K].
            weights: Shape [K].
            head_chunks: The head runs over the loss positions in this many parts.

        Returns:
            A scalar, or shape [K]; fp32, nats.
        """
        backbone = getattr(self.model, self.model.base_model_prefix)
        with reading(loss_positions, tokens.shape[1]):
            hidden = backbone(
                input_ids=tokens, position_ids=positions, attention_mask=layout, use_cache=False
            ).last_hidden_state
        states = hidden[0].index_select(0, loss_positions)
        nll = token_nll(states, targets, self.model.get_output_embeddings(), softcap(self.model), head_chunks)
        return nll if weights is None else (nll * weights).sum()


def softcap(model: PreTrainedModel) -> float | None:
    """Return the cap on the model's final logits, None without one (Gemma 2, arXiv:2408.00118)."""
    cap: float | None = model.config.to_dict().get("final_logit_softcapping")
    return cap


def token_nll(states: Tensor, targets: Tensor, head: nn.Module, cap: float | None, chunks: int) -> Tensor:
    """Return the negative log-likelihood of each target, shape [K], in nats and fp32.

    Beyond one chunk the logits are computed again in the backward pass, so at most one chunk of vocabulary
    size is ever held.

    Args:
        states: Hidden states, shape [K, hidden size].
        targets: Shape [K].
        head: Maps hidden states to logits; called as a module, because ZeRO-3 gathers its weights there.
        cap: Cap on the logits, None without one.
        chunks: Number of parts.
    """
    if chunks == 1:
        return _chunk_nll(states, targets, head, cap)
    parts = zip(states.tensor_split(chunks), targets.tensor_split(chunks), strict=True)
    return torch.cat([checkpoint(_chunk_nll, s, t, head, cap, use_reentrant=False) for s, t in parts])


def _chunk_nll(states: Tensor, targets: Tensor, head: nn.Module, cap: float | None) -> Tensor:
    logits = head(states).float()
    if cap is not None:
        logits = torch.tanh(logits / cap) * cap
    return F.cross_entropy(logits, targets, reduction="none")


def inputs_on(batch: MicroBatch, device: torch.device) -> dict[str, Tensor]:
    """Return the tensors that `PackedLoss.forward` takes, without a wait for the device."""

    def move(array: object) -> Tensor:
        host = torch.as_tensor(array)
        return host if device.type == "cpu" else host.pin_memory().to(device, non_blocking=True)

    longest = int((batch.starts[1:] - batch.starts[:-1]).max())
    return {
        "tokens": move(batch.tokens)[None],
        "positions": move(batch.positions)[None],
        "layout": pack_layout(move(batch.starts), longest),
        "loss_positions": move(batch.loss_positions),
        "targets": move(batch.targets),
        "weights": move(batch.weights),
    }
