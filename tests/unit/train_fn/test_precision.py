"""Which precision a device gets."""

from types import SimpleNamespace

import pytest
import torch
from deepspeed.accelerator import get_accelerator
from deepspeed.accelerator.cuda_accelerator import CUDA_Accelerator

from train_fn.errors import InputError
from train_fn.precision import choose_precision

CPU = torch.device("cpu")


def test_auto_on_a_cpu_is_fp32_and_says_why() -> None:
    precision, reason = choose_precision("auto", CPU)
    assert precision == "fp32"
    assert "no GPU" in reason


def pretend_gpu(monkeypatch: pytest.MonkeyPatch, capability: tuple[int, int], name: str = "a card") -> None:
    """Let torch and DeepSpeed find a GPU, which emulates bf16 where it does not have it."""
    card = SimpleNamespace(major=capability[0], minor=capability[1])
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 0)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device=None: capability)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device=None: name)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device=None: card)
    monkeypatch.setattr(torch.cuda, "_check_bf16_tensor_supported", lambda device: True)
    monkeypatch.setattr("train_fn.precision.get_accelerator", CUDA_Accelerator)


@pytest.mark.parametrize(("capability", "expected"), [((7, 0), "fp16"), ((7, 5), "fp16"), ((8, 0), "bf16")])
def test_auto_on_a_gpu_takes_the_bf16_that_it_does_not_emulate(
    monkeypatch: pytest.MonkeyPatch, capability: tuple[int, int], expected: str
) -> None:
    pretend_gpu(monkeypatch, capability)
    assert choose_precision("auto", torch.device("cuda"))[0] == expected


def test_bf16_that_a_gpu_only_emulates_is_refused_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    pretend_gpu(monkeypatch, (7, 5), "Tesla T4")
    with pytest.raises(InputError) as caught:
        choose_precision("bf16", torch.device("cuda"))
    assert str(caught.value) == (
        "engine.precision = 'bf16' needs a GPU of compute capability 8.0, and this Tesla T4 has 7.5: "
        "it only emulates bf16, slowly; set it to auto, fp32 or fp16"
    )
    assert choose_precision("fp16", torch.device("cuda"))[0] == "fp16"
    pretend_gpu(monkeypatch, (8, 0), "NVIDIA A100")
    assert choose_precision("bf16", torch.device("cuda"))[0] == "bf16"


def test_what_the_device_cannot_do_is_refused_in_one_line() -> None:
    if get_accelerator().is_fp16_supported():
        pytest.skip("this device supports fp16, there is nothing to refuse")
    with pytest.raises(
        InputError, match=r"engine.precision = 'fp16' is not supported .*; set it to auto"
    ) as caught:
        choose_precision("fp16", CPU)
    assert "\n" not in str(caught.value)
