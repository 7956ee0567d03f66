"""The decoder layers of a language model, and `engine.compile`."""

import os
import shutil

import torch
from torch import nn
from torch.utils._triton import has_triton
from transformers import PreTrainedModel

from train_fn.config import check


def decoder_layers(model: PreTrainedModel) -> nn.ModuleList:
    """Return the layers of a model of one of `train_fn.model.ARCHITECTURES`, the first one first."""
    backbone = getattr(model, model.base_model_prefix)
    layers: nn.ModuleList = backbone.h if hasattr(backbone, "h") else backbone.layers
    return layers


def compile_layers(model: PreTrainedModel, device: torch.device) -> None:
    """Let `torch.compile` fuse what happens within a layer, at the model's first step.

    The layers are compiled one by one: all run the same code, so it is translated once however many there
    are. Packed rows have different lengths, hence `dynamic`. The last layer stays as it is, for
    `train_fn.loss_rows` looks up its rows while it runs, and nothing is compiled across that.

    Raises:
        InputError: There is nothing on this machine to compile with.
    """
    compiler = os.environ.get("CXX", "g++")
    needed = "Triton" if device.type == "cuda" else f"the C++ compiler {compiler}"
    able = has_triton() if device.type == "cuda" else shutil.which(compiler) is not None
    check(
        able,
        "engine.compile",
        True,
        f"needs {needed}, which is not installed",
        "install it, or set it to false",
    )
    for layer in decoder_layers(model)[:-1]:
        layer.compile(dynamic=True)
