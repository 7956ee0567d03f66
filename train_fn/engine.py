"""The DeepSpeed engine of a trial, and one optimizer step on it."""

import gc
import math
import threading
import time
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import deepspeed
import torch
from deepspeed.runtime.zero import parameter_offload
from deepspeed.runtime.zero.partitioned_param_coordinator import PartitionedParameterCoordinator
from deepspeed.utils import logger as deepspeed_logger
from torch import Tensor, nn

from train_fn.batches import Examples, StepPlan, build_micro_batch
from train_fn.clock import Clock
from train_fn.config import Objective, TrainConfig
from train_fn.loss import inputs_on
from train_fn.precision import Chosen

NO_CLIPPING = math.inf


class LossScaleExhaustedError(Exception):
    """The dynamic loss scale is at its minimum and the gradients still overflow."""


@dataclass(frozen=True)
class StepResult:
    """What a step leaves behind. Tensors stay on the device until the window ends."""

    loss: Tensor
    """This rank's part of the step's loss; the sum over ranks is the loss."""
    grad_norm: Tensor | float
    loss_scale: float
    """0 when the precision has none."""
    overflowed: bool
    """The loss scaler passed the step over: the scaled gradient left the range of fp16."""
    discarded: bool
    """The gradient was not finite and there is no scaler to blame: weights and moments are as before."""


def deepspeed_config(config: TrainConfig, precision: Chosen, device: torch.device) -> dict[str, Any]:
    """Return DeepSpeed's configuration of a trial.

    Stage 0 in 16 bits runs as ZeRO stage 1, which computes the same step: DeepSpeed 0.19.8 neither scales
    the loss of stage 0 in `engine.backward` nor accumulates its gradients in fp32.
    """
    optim, engine = config.optim, config.engine
    stage = effective_stage(config, precision)
    adam: dict[str, Any] = {
        "lr": optim.lr,
        "betas": [optim.beta1, optim.beta2],
        "eps": optim.eps,
        "weight_decay": optim.weight_decay,
        "torch_adam": True,
        "fused": True,
    }
    zero: dict[str, Any] = {"stage": stage}
    # It needs streams. ZeRO 1 and 2 do without unless asked: with other libraries' streams it has raced more
    # than once (DeepSpeed issues 5545, 7188, 8061).
    zero["overlap_comm"] = device.type == "cuda" and (stage == 3 or engine.overlap_comm)
    if stage > 0 and engine.offload_optimizer:
        zero["offload_optimizer"] = {"device": "cpu"}
        if device.type == "cuda":
            adam = {k: v for k, v in adam.items() if k not in ("torch_adam", "fused")}  # DeepSpeedCPUAdam
    settings: dict[str, Any] = {
        "train_micro_batch_size_per_gpu": 1,
        "gradient_accumulation_steps": 1,
        "steps_per_print": None,
        "gradient_clipping": optim.clip_norm if stage > 0 else 0.0,
        "optimizer": {"type": "AdamW", "params": adam},
        "zero_optimization": zero,
        "zero_force_ds_cpu_optimizer": False,
        "checkpoint": {"tag_validation": "Ignore"},  # it is a constant; asking all ranks stops the training
    }
    if precision == "bf16":
        settings["bf16"] = {"enabled": True}
    if precision == "fp16":
        settings["fp16"] = {
            "enabled": True,
            "loss_scale": 0,
            "initial_scale_power": engine.initial_scale_power,
            "loss_scale_window": engine.loss_scale_window,
            "hysteresis": engine.hysteresis,
            "min_loss_scale": engine.min_loss_scale,
        }
    if precision != "fp32":
        settings["data_types"] = {"grad_accum_dtype": "fp32"}
    return settings


def effective_stage(config: TrainConfig, precision: Chosen) -> int:
    """Return the ZeRO stage that runs: 16 bits need at least stage 1, see `deepspeed_config`."""
    return config.engine.zero_stage if precision == "fp32" else max(config.engine.zero_stage, 1)


class Engine:
    """A DeepSpeed engine that steps as DESIGN 4 says.

    Args:
        module: Answers with the weighted sum of token losses, see `PackedLoss`.
        config: The trial.
        precision: What to train in.
        device: Where to train.
        clock: Told which part of a step runs; None when nobody wants to know.
    """

    def __init__(
        self,
        module: nn.Module,
        config: TrainConfig,
        precision: Chosen,
        device: torch.device,
        clock: Clock | None = None,
    ) -> None:
        deepspeed_logger.setLevel("ERROR")  # its warnings repeat what the settings above say on purpose
        # No kernels built at run time: probing for them runs a compiler, and the shared-memory collectives
        # alone take half a minute.
        vars(deepspeed.ops)["__compatible_ops__"] = {}
        trainable = [p for p in module.parameters() if p.requires_grad]
        settings = deepspeed_config(config, precision, device)
        warnings.filterwarnings(
            "ignore", message=".*torch.distributed.*is deprecated", category=FutureWarning
        )
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            self.deepspeed, *_ = deepspeed.initialize(
                model=module, model_parameters=trainable, config=settings
            )
        self.device = device
        self._clock = clock or Clock()
        self.stage = effective_stage(config, precision)
        self._trainable = trainable
        self._scaled = precision == "fp16"
        self._clip_norm = config.optim.clip_norm or NO_CLIPPING
        self.may_update = threading.Event()
        """Cleared while weights and moments must stay as they are: a checkpoint is being copied."""
        self.may_update.set()
        self.waited_s = 0.0
        """For how long updates have waited for that, in seconds."""

    @property
    def skipped_steps(self) -> int:
        """Steps that ZeRO passed over since the trial began, because a gradient was not finite."""
        return int(self.deepspeed.skipped_steps)

    def step(self, examples: Examples, plan: StepPlan, objective: Objective, lr: float) -> StepResult:
        """Take one optimizer step.

        Raises:
            LossScaleExhaustedError: See there.
        """
        for group in self.deepspeed.optimizer.param_groups:
            group["lr"] = lr
        loss = self._accumulate(examples, plan, objective, closed=True)
        scale = float(self.deepspeed.optimizer.loss_scale) if self._scaled else 0.0
        norm = self._apply()
        passed_over = norm is None
        return StepResult(
            loss=loss,
            grad_norm=math.inf if norm is None else norm,
            loss_scale=scale,
            overflowed=passed_over and self._scaled,
            discarded=passed_over and not self._scaled,
        )

    def is_finite(self, examples: Examples, plan: StepPlan, objective: Objective) -> bool:
        """Compute the loss and the gradient of a step that is not taken; all ranks get the same answer.

        Returns:
            Whether the loss and every gradient of every micro-batch of every rank is finite.
        """
        assert not self._scaled, "a scaled gradient that is not finite says nothing about its examples"
        broken = torch.zeros((), dtype=torch.int32, device=self.device)

        def look(gradient: Tensor) -> None:
            broken.logical_or_(~gradient.isfinite().all())

        hooks = [parameter.register_hook(look) for parameter in self._trainable]
        loss = self._accumulate(examples, plan, objective, closed=False)
        for hook in hooks:
            hook.remove()
        broken.logical_or_(~loss.isfinite())
        torch.distributed.all_reduce(broken, torch.distributed.ReduceOp.MAX)
        # What has been gathered goes the way of every gradient that is not finite, at any stage of ZeRO.
        self._backward((), 1, examples, plan, objective, closes=True, factor=math.nan)
        norm = self._apply()
        assert norm is None, "nothing was applied"
        return not bool(broken)

    def _accumulate(self, examples: Examples, plan: StepPlan, objective: Objective, closed: bool) -> Tensor:
        """Gather the gradients of a step's micro-batches and return this rank's part of the loss.

        Args:
            examples: All examples.
            plan: The step.
            objective: Which tokens the loss looks at.
            closed: Whether the last micro-batch ends the step.
        """
        loss = torch.zeros((), device=self.device)
        last = len(plan.micro_batches) - 1
        for j, members in enumerate(plan.micro_batches):
            chunks, closes = plan.head_chunks[j], closed and j == last
            loss += self._backward(members, chunks, examples, plan, objective, closes)
        return loss

    def _backward(
        self,
        members: Sequence[int],
        head_chunks: int,
        examples: Examples,
        plan: StepPlan,
        objective: Objective,
        closes: bool,
        factor: float = 1.0,
    ) -> Tensor:
        self._clock.at("data")
        inputs = inputs_on(build_micro_batch(examples, members, objective, plan), self.device)
        self.deepspeed.set_gradient_accumulation_boundary(closes)
        self._clock.at("forward")
        part = self.deepspeed(**inputs, head_chunks=head_chunks)
        self._clock.at("backward")
        # DeepSpeed averages gradients over ranks, the weights already divide by the whole step's tokens
        ranks = torch.distributed.get_world_size()
        self.deepspeed.backward(part * (ranks * factor), scale_wrt_gas=False)
        detached: Tensor = part.detach()
        return detached

    def _apply(self) -> Tensor | float | None:
        """Update the weights and return the norm of the gradient; None when it is not finite.

        ZeRO then leaves everything as it was (`is_invalid_grad_norm` in DeepSpeed 0.19.8, whatever the
        precision). Stage 0 knows no such check, so it gets one here.
        """
        self._await_copies()
        self._clock.at("step")
        if self.stage == 0:
            norm = nn.utils.clip_grad_norm_(self._trainable, self._clip_norm)
            finite = math.isfinite(norm)
            if not finite:
                self.deepspeed.zero_grad()  # AdamW passes over parameters without a gradient
            self.deepspeed.step()
            return norm if finite else None
        skipped = self.skipped_steps
        try:
            self.deepspeed.step()
        except Exception as error:  # DeepSpeed raises a bare Exception here; all else goes on
            if "loss scale already at minimum" not in str(error):
                raise
            raise LossScaleExhaustedError(str(error)) from error
        if self.skipped_steps > skipped:
            return None
        zero_norm: Tensor | float | None = self.deepspeed.get_global_grad_norm()
        assert zero_norm is not None, "ZeRO computes the norm of every step it takes"
        return zero_norm

    def _await_copies(self) -> None:
        if not self.may_update.is_set():
            self._clock.at("checkpoint")
            began = time.perf_counter()
            self.may_update.wait()
            self.waited_s += time.perf_counter() - began

    def destroy(self) -> None:
        """Release hooks and memory; the engine is of no use afterwards."""
        self.deepspeed.destroy()
        _forget_zero_3()
        self._trainable = []
        del self.deepspeed
        gc.collect()
        if self.device.type == "cuda":
            torch.cuda.empty_cache()


def _forget_zero_3() -> None:
    """Empty the two places where DeepSpeed 0.19.8 keeps a ZeRO-3 model for ever: a list and a cache."""
    parameter_offload.FWD_MODULE_STACK.clear()
    cached = vars(PartitionedParameterCoordinator)["_PartitionedParameterCoordinator__params_to_release"]
    for cell in cached.__closure__:
        if hasattr(cell.cell_contents, "cache_clear"):
            cell.cell_contents.cache_clear()


def gathered(parameters: Sequence[nn.Parameter]) -> Any:
    """Return a context in which ZeRO-3 parameters are whole on every rank; any other ones are already."""
    return deepspeed.zero.GatheredParameters(list(parameters))
