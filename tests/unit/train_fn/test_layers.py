"""Compiled layers compute what the others do."""

import shutil

import pytest
import torch
from torch._dynamo.utils import counters

from tests.invariance.runs import run_here
from tests.toys import toy_base, toy_model, toy_train_config
from train_fn.errors import InputError
from train_fn.layers import compile_layers, decoder_layers
from train_fn.model import ARCHITECTURES, fresh_model


@pytest.mark.parametrize("kind", ARCHITECTURES)
def test_finds_the_layers_of_every_architecture(kind: str) -> None:
    model = toy_model(kind)
    layers = decoder_layers(model)
    assert len(layers) == model.config.num_hidden_layers
    assert sum(p.numel() for p in layers.parameters()) > 0


def test_without_a_compiler_the_setting_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CXX", "no-such-compiler")
    model = fresh_model(toy_base(), toy_train_config(), torch.float32)
    with pytest.raises(
        InputError, match=r"engine.compile = True needs the C\+\+ compiler no-such-compiler, .*; install it"
    ):
        compile_layers(model, torch.device("cpu"))


def test_zero_3_and_compiled_layers_exclude_each_other() -> None:
    with pytest.raises(InputError, match=r"engine.compile = True needs whole weights.*; set it to false"):
        toy_train_config(engine__compile=True, engine__zero_stage=3)


@pytest.mark.slow  # the compiler runs for half a minute
@pytest.mark.skipif(shutil.which("g++") is None, reason="there is no C++ compiler")
@pytest.mark.parametrize("checkpointing", [False, True])
@pytest.mark.parametrize("kind", ["gpt_neox", "gptj", "qwen3"])
def test_a_compiled_trial_has_the_losses_of_one_that_is_not(kind: str, checkpointing: bool) -> None:
    changes = {"optim__eps": 1e-4, "model__activation_checkpointing": checkpointing}
    plain, compiled = (run_here(kind=kind, engine__compile=flag, **changes) for flag in (False, True))
    torch.testing.assert_close(
        torch.tensor(compiled.losses), torch.tensor(plain.losses), rtol=1e-5, atol=1e-5
    )
    assert plain.losses[-1] < plain.losses[0]


@pytest.mark.slow  # the compiler runs
@pytest.mark.skipif(shutil.which("g++") is None, reason="there is no C++ compiler")
def test_the_trials_of_a_slot_share_what_was_compiled() -> None:
    graphs = []
    for _ in range(3):
        run_here(engine__compile=True)
        graphs.append(counters["stats"]["unique_graphs"])
    assert 0 < graphs[0] == graphs[1] == graphs[2]
