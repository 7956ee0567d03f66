"""Settle what every test process needs before torch or deepspeed is imported."""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")  # two threads on two shared cores are slower than one
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

import torch

torch.set_num_threads(1)
if not torch.cuda.is_available():
    os.environ.setdefault("DS_ACCELERATOR", "cpu")
