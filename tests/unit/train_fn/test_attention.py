"""Which kernel attention takes. What it computes is in `tests.invariance.test_architectures`."""

import pytest
import torch

from train_fn.attention import _has_flash


@pytest.mark.parametrize(
    ("capability", "able"), [((7, 0), False), ((7, 5), False), ((8, 0), True), ((12, 0), True)]
)
def test_the_flash_kernel_begins_with_ampere(
    monkeypatch: pytest.MonkeyPatch, capability: tuple[int, int], able: bool
) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: capability)
    assert _has_flash(0) == able


@pytest.mark.gpu
def test_a_gpu_says_what_it_can() -> None:
    assert _has_flash(torch.cuda.current_device()) == (torch.cuda.get_device_properties(0).major >= 8)
