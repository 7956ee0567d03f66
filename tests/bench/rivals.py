"""The trainers that people use instead of ours, each with the settings its documentation recommends.

Each rival runs in a process of its own: accelerate and DeepSpeed keep state there. All train the bundled
model in fp32 on one thread, with fused AdamW, clipping, the same effective batch size, and answers alone in
the loss, for which TRL too computes no logits of prompts. Its packing flattens rows, as ours does.
Gradient checkpointing, which TRL switches on, is off: the memory is there. Nothing is logged or saved.
"""

import tempfile
import time
from typing import Any

import datasets
import torch
from transformers import (
    AutoModelForCausalLM,
    DataCollatorForSeq2Seq,
    PreTrainedModel,
    Trainer,
    TrainerCallback,
    TrainingArguments,
)

from tests.bench.alone import alone
from tests.bench.job import Job, Pace
from train_fn.bundled_path import bundled_folder
from train_fn.prepared import open_prepared
from train_fn.tokenizer import load_tokenizer

MICRO_BATCH = 8
"""Examples that are padded together: more of them need more padding, fewer spend more on calls."""
ROW_TOKENS = 512
"""Length of TRL's packed rows: that of the longest example, so that none is cut."""
LR = 1e-4
IGNORED = -100
"""Label of a token that is not in the loss."""


class Clock(TrainerCallback):
    """Takes the time from the end of the warm-up to the end of the last step, and counts real tokens."""

    def __init__(self, model: PreTrainedModel, warmup: int) -> None:
        self._warmup, self._tokens = warmup, 0
        self._began = self._ended = 0.0
        model.register_forward_pre_hook(self._count, with_kwargs=True)

    def _count(self, module: Any, args: Any, inputs: dict[str, torch.Tensor]) -> None:
        mask = inputs.get("attention_mask")
        self._tokens += inputs["input_ids"].numel() if mask is None else int(mask.sum())

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self._ended = time.process_time()
        if state.global_step == self._warmup:
            self._began, self._tokens = self._ended, 0

    @property
    def pace(self) -> Pace:
        return Pace(self._tokens, self._ended - self._began)


def trl_padded(job: Job) -> Pace:
    """Train with TRL's `SFTTrainer`, batches padded to their longest example."""
    return _trl(job, _padded(job))


def trl_packed(job: Job) -> Pace:
    """Train with TRL's packing, as many rows a step as hold the effective batch size on average."""
    lengths = open_prepared(job.prepared).train.lengths[list(job.numbers)]
    rows = max(1, round(float(lengths.mean()) * job.batch / ROW_TOKENS))
    packing = {"packing": True, "max_length": ROW_TOKENS, "train_sampling_strategy": "random"}
    return _trl(job, packing | {"per_device_train_batch_size": 1, "gradient_accumulation_steps": rows})


def _trl(job: Job, settings: dict[str, Any]) -> Pace:
    from trl import SFTConfig, SFTTrainer

    own = {"gradient_checkpointing": False}
    with tempfile.TemporaryDirectory() as folder:
        model = _model()
        clock = Clock(model, job.warmup)
        SFTTrainer(
            model,
            SFTConfig(**(_settings(folder) | own | settings)),
            train_dataset=_dataset(job),
            processing_class=load_tokenizer("bundled"),
            callbacks=[clock],
        ).train()
    return clock.pace


def deepspeed_padded(job: Job) -> Pace:
    """Train with the `Trainer` of transformers on DeepSpeed, batches padded to their longest example."""
    import deepspeed

    if not torch.distributed.is_initialized():
        alone()
        vars(deepspeed.ops)["__compatible_ops__"] = {}  # else it compiles collectives for half a minute
    config = {
        "train_micro_batch_size_per_gpu": "auto",
        "gradient_accumulation_steps": "auto",
        "gradient_clipping": "auto",
        "zero_optimization": {"stage": 0},
        "zero_force_ds_cpu_optimizer": False,
        "optimizer": {"type": "AdamW", "params": {"lr": LR, "torch_adam": True, "fused": True}},
    }
    with tempfile.TemporaryDirectory() as folder:
        arguments = TrainingArguments(**(_settings(folder) | _padded(job)), deepspeed=config)
        model = _model()
        clock = Clock(model, job.warmup)
        Trainer(
            model,
            arguments,
            data_collator=DataCollatorForSeq2Seq(load_tokenizer("bundled")),
            train_dataset=_dataset(job),
            callbacks=[clock],
        ).train()
    return clock.pace


def _padded(job: Job) -> dict[str, Any]:
    return {
        "per_device_train_batch_size": MICRO_BATCH,
        "gradient_accumulation_steps": job.batch // MICRO_BATCH,
        "train_sampling_strategy": "sequential",  # the job is in its order
    }


def _settings(folder: str) -> dict[str, Any]:
    return {
        "output_dir": folder,
        "use_cpu": True,
        "bf16": False,
        "num_train_epochs": 1,
        "learning_rate": LR,
        "lr_scheduler_type": "constant",
        "logging_strategy": "no",
        "save_strategy": "no",
        "report_to": "none",
        "disable_tqdm": True,
        "dataloader_pin_memory": False,
    }


def _model() -> PreTrainedModel:
    return AutoModelForCausalLM.from_pretrained(bundled_folder(), dtype=torch.float32)


def _dataset(job: Job) -> datasets.Dataset:
    """Return the tokenised examples in the order of the job."""
    train = open_prepared(job.prepared).train
    rows = [(train.tokens(i).tolist(), int(train.prompt_lengths[i])) for i in job.numbers]
    labels = [[IGNORED] * prompt + tokens[prompt:] for tokens, prompt in rows]
    return datasets.Dataset.from_dict({"input_ids": [tokens for tokens, _ in rows], "labels": labels})
