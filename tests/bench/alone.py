"""One rank on one CPU thread, without Ray: where a benchmark of training runs."""

import os

import torch
from torch import distributed

from train_fn.errors import InputError

CPU = torch.device("cpu")


def alone() -> None:
    """Make this process the only rank of a group, on one thread.

    Raises:
        InputError: Torch sees a GPU: ours would train there, and the other side would not.
    """
    if torch.cuda.is_available():
        raise InputError("this machine has a GPU and CPUs are compared; hide it with CUDA_VISIBLE_DEVICES=-1")
    torch.set_num_threads(1)
    os.environ.setdefault("LOCAL_RANK", "0")  # DeepSpeed refuses to start without it
    distributed.init_process_group("gloo", store=distributed.HashStore(), rank=0, world_size=1)
