"""Which device and number format a trial trains in, and why."""

from typing import Literal

import torch
from deepspeed.accelerator import get_accelerator

from train_fn.config import Precision, check

Chosen = Literal["fp16", "bf16", "fp32"]
DTYPES: dict[Chosen, torch.dtype] = {
    "fp16": torch.float16,
    "bf16": torch.bfloat16,
    "fp32": torch.float32,
}


def trial_device() -> torch.device:
    """Return the device this process trains on: its current GPU, or the CPU."""
    if torch.cuda.is_available():
        return torch.device("cuda", torch.cuda.current_device())
    return torch.device("cpu")


def choose_precision(wanted: Precision, device: torch.device) -> tuple[Chosen, str]:
    """Return the precision to train in and the reason, in a sentence.

    Raises:
        InputError: The device cannot compute in the wanted precision.
    """
    bf16, fp16 = bool(get_accelerator().is_bf16_supported()), bool(get_accelerator().is_fp16_supported())
    if device.type == "cuda":  # cards before Ampere emulate bf16, and DeepSpeed counts that
        bf16 = torch.cuda.is_bf16_supported(including_emulation=False)
    if wanted == "auto":
        if device.type != "cuda":
            return "fp32", "precision fp32: no GPU, and a CPU computes fp32 fastest"
        if bf16:
            return "bf16", "precision bf16: this GPU has it, and it needs no loss scale"
        return "fp16", "precision fp16 with a dynamic loss scale: this GPU has no bf16"
    able = {"fp32": True, "bf16": bf16, "fp16": fp16}
    others = " or ".join(name for name, ok in able.items() if ok)
    check(able[wanted], "engine.precision", wanted, _unable(wanted, device), f"set it to auto, {others}")
    return wanted, f"precision {wanted}: asked for"


def _unable(wanted: Chosen, device: torch.device) -> str:
    """Say, as the end of a sentence, what a device lacks for a precision."""
    if wanted == "bf16" and device.type == "cuda":
        major, minor = torch.cuda.get_device_capability(device)
        has = f"this {torch.cuda.get_device_name(device)} has {major}.{minor}"
        return f"needs a GPU of compute capability 8.0, and {has}: it only emulates bf16, slowly"
    return f"is not supported by this {device.type} device"
