from dataclasses import replace
from pathlib import Path

import pytest
import torch

from tests.toys import TOY_REPORT, VOCABULARY, save_toy_model, toy_prepared, toy_train_config
from train_fn.assignment import Assignment
from train_fn.clock import Clock
from train_fn.config import ModelConfig, TrainConfig
from train_fn.errors import InputError
from train_fn.model import BaseModel
from train_fn.worker import _Kept


@pytest.fixture
def config(tmp_path: Path) -> TrainConfig:
    return replace(toy_train_config(), model=ModelConfig(path=str(save_toy_model(tmp_path / "model"))))


def base_of(kept: _Kept, config: TrainConfig, seed: int, cache: Path) -> BaseModel:
    with_seed = replace(config, run=replace(config.run, seed=seed))
    base, _ = kept.for_trial(Assignment(1, 0, with_seed, "data", "workspace", str(cache), 0.0), Clock())
    return base


@pytest.fixture
def kept() -> _Kept:
    return _Kept(folder="data", prepared=toy_prepared())  # type: ignore[arg-type]


def test_pretrained_weights_are_kept_whatever_the_seed(
    kept: _Kept, config: TrainConfig, tmp_path: Path
) -> None:
    first = base_of(kept, config, 0, tmp_path / "cache")
    assert base_of(kept, config, 1, tmp_path / "cache") is first


def test_a_token_without_an_embedding_is_refused(kept: _Kept, config: TrainConfig, tmp_path: Path) -> None:
    prepared = replace(toy_prepared(), report=replace(TOY_REPORT, highest_token=VOCABULARY))
    with pytest.raises(
        InputError, match=r"model.path = .* has 61 embeddings, and its tokenizer writes token 61 "
    ):
        base_of(replace(kept, prepared=prepared), config, 0, tmp_path / "cache")  # type: ignore[arg-type]


def test_random_weights_are_those_of_the_trials_seed_whatever_ran_before(
    kept: _Kept, config: TrainConfig, tmp_path: Path
) -> None:
    drawn = replace(config, model=replace(config.model, init="random"))
    first = base_of(kept, drawn, 0, tmp_path / "cache")
    assert base_of(kept, drawn, 0, tmp_path / "cache") is first
    other = base_of(kept, drawn, 1, tmp_path / "cache")
    assert other.key != first.key
    fresh = base_of(replace(kept, base=None), drawn, 1, tmp_path / "elsewhere")
    name = max(other.state, key=lambda one: other.state[one].numel())
    assert torch.equal(fresh.state[name], other.state[name])
    assert not torch.equal(first.state[name], other.state[name])
