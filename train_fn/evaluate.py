"""Response NLL on the held-out examples: the figure that trials are compared by."""

import dataclasses
import json
import logging
import os
import time
from pathlib import Path

import numpy as np
import torch
from torch import distributed, nn

from train_fn.batches import Examples, build_micro_batch, plan_step
from train_fn.config import LoraConfig, TrainConfig
from train_fn.loss import PackedLoss, inputs_on
from train_fn.model import BaseModel, fresh_model
from train_fn.precision import DTYPES, Chosen
from train_fn.ratio import ratio_estimate
from train_fn.report import Evaluation
from train_fn.typed import from_plain, load_json

logger = logging.getLogger(__name__)


def evaluate(
    module: nn.Module,
    examples: Examples,
    max_tokens_per_micro_batch: int,
    device: torch.device,
    shared: bool = True,
) -> Evaluation:
    """Return the NLL of the answers, whatever the trial's objective.

    All ranks of the process group take a share and all return the whole, unless `shared` is False. The
    module is in training mode afterwards if it was before. Figures are not finite when the weights are not.

    Args:
        module: A `PackedLoss`, or a DeepSpeed engine around one.
        examples: The held-out examples.
        max_tokens_per_micro_batch: Most tokens of a packed row.
        device: Where the module is.
        shared: Whether ranks share the work; False when this process is alone with it.
    """
    began, training = time.perf_counter(), module.training
    grouped = shared and distributed.is_initialized()
    rank, ranks = (distributed.get_rank(), distributed.get_world_size()) if grouped else (0, 1)
    everyone = np.arange(len(examples))
    plan = plan_step(examples, everyone, "response", rank, ranks, max_tokens_per_micro_batch)
    sums = torch.zeros(len(examples), dtype=torch.float64, device=device)
    module.eval()
    with torch.no_grad():
        for members, chunks in zip(plan.micro_batches, plan.head_chunks, strict=True):
            batch = build_micro_batch(examples, members, "response", plan)
            inputs = inputs_on(batch, device) | {"weights": None}
            nll = module(**inputs, head_chunks=chunks)
            if members:  # the idle token of an empty micro-batch counts for nobody
                sums.index_add_(0, torch.as_tensor(batch.owners, device=device), nll.double())
    module.train(training)
    if grouped:
        distributed.all_reduce(sums)
    tokens = (examples.lengths - np.maximum(examples.prompt_lengths, 1)).astype(np.int64)
    nll_sums = sums.cpu().numpy()
    conversations = tuple(examples.conversations.tolist())
    mean, stderr = ratio_estimate(nll_sums.tolist(), tokens.tolist(), conversations)
    return Evaluation(
        nll=mean,
        stderr=stderr,
        example_nll=tuple((nll_sums / np.maximum(tokens, 1)).tolist()),
        example_tokens=tuple(tokens.tolist()),
        seconds=time.perf_counter() - began,
        example_conversations=conversations,
    )


def baseline(
    base: BaseModel,
    config: TrainConfig,
    examples: Examples,
    data_key: str,
    precision: Chosen,
    device: torch.device,
    cache_dir: Path,
) -> Evaluation:
    """Return the evaluation of the untouched base model, from the cache when it was done before.

    One process does it alone: with a process group every rank gets the same figures, each by itself.

    Args:
        base: The base model.
        config: Any trial of the search: only the micro-batch size is read.
        examples: The held-out examples.
        data_key: Hash of the prepared data.
        precision: What trials train in.
        device: Where to evaluate.
        cache_dir: Where the JSON file is kept, named by the keys of model, data and precision.
    """
    file = cache_dir / f"baseline-{base.key}-{data_key}-{precision}.json"
    if file.exists():
        try:
            return from_plain(Evaluation, load_json(file.read_bytes()))
        except (OSError, ValueError) as error:
            logger.warning("%s is damaged (%s): the base model is evaluated anew", file, error)
    plain = dataclasses.replace(config, model=dataclasses.replace(config.model, lora=LoraConfig()))
    module = PackedLoss(fresh_model(base, plain, DTYPES[precision], device))
    result = evaluate(module, examples, config.engine.max_tokens_per_micro_batch, device, shared=False)
    cache_dir.mkdir(parents=True, exist_ok=True)
    partial = file.with_suffix(f".{os.getpid()}.tmp")
    partial.write_text(json.dumps(dataclasses.asdict(result)))
    partial.replace(file)
    return result
