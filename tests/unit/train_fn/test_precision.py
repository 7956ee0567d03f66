"""Which precision a device gets."""

import pytest
import torch
from deepspeed.accelerator import get_accelerator

from train_fn.errors import InputError
from train_fn.precision import choose_precision

CPU = torch.device("cpu")


def test_auto_on_a_cpu_is_fp32_and_says_why() -> None:
    precision, reason = choose_precision("auto", CPU)
    assert precision == "fp32"
    assert "no GPU" in reason


def test_auto_on_a_gpu_follows_its_bf16(monkeypatch: pytest.MonkeyPatch) -> None:
    accelerator = type(get_accelerator())
    for supported, expected in ((True, "bf16"), (False, "fp16")):
        monkeypatch.setattr(accelerator, "is_bf16_supported", lambda self, s=supported: s)
        assert choose_precision("auto", torch.device("cuda"))[0] == expected


def test_what_the_device_cannot_do_is_refused_in_one_line() -> None:
    if get_accelerator().is_fp16_supported():
        pytest.skip("this device supports fp16, there is nothing to refuse")
    with pytest.raises(
        InputError, match=r"engine.precision = 'fp16' is not supported .*; set it to auto"
    ) as caught:
        choose_precision("fp16", CPU)
    assert "\n" not in str(caught.value)
