from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from search.session import _check_precision
from tests.toys import TOY_REPORT, VOCABULARY, save_toy_model, toy_prepared, toy_train_config
from tests.unit.train_fn.test_precision import pretend_gpu
from train_fn import worker
from train_fn.assignment import Assignment, Message, Refusal
from train_fn.clock import Clock
from train_fn.config import ModelConfig, TrainConfig
from train_fn.errors import InputError
from train_fn.heartbeat import Pulse
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


def test_a_rank_refuses_emulated_bf16_with_the_reason_that_the_command_gives_for_its_own_gpu(
    kept: _Kept, config: TrainConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = replace(config, engine=replace(config.engine, precision="bf16"))
    sent: list[Message] = []
    mailbox = SimpleNamespace(report=SimpleNamespace(remote=lambda ticket, message: sent.append(message)))
    monkeypatch.setattr(worker, "ray", SimpleNamespace(get=lambda answer: answer))
    monkeypatch.setattr(worker.dist, "get_rank", lambda: 0)
    pretend_gpu(monkeypatch, (7, 5), "Tesla T4")
    given = Assignment(1, 0, asked, "data", str(tmp_path / "0000"), str(tmp_path / "cache"), 0.0)
    worker._train_one(mailbox, given, kept, Pulse())
    with pytest.raises(InputError, match="this Tesla T4 has") as caught:
        _check_precision(asked)
    assert sent == [Refusal(str(caught.value))]


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
